import copy
import re
from typing import Any

import pytest
import timm
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import FPN, build_backbone
from detectron2.modeling.meta_arch.semantic_seg import SemanticSegmentor, SemSegFPNHead
from torch import nn

from catseg.checkpoint.backbone_weights import CONVERTERS
from catseg.config import add_catseg_config
from catseg.modeling.backbones import TimmBackbone
from catseg.modeling.backbones.timm_backbone import TimmModel

ALL_MAPS = ["res2", "res3", "res4", "res5"]
KINDS = ["test_resnet", "test_convnext", "test_efficientnet", "test_vit", "test_vit_relpos"]  # each in another way


def build(name: str, **options: Any) -> TimmBackbone:
    torch.manual_seed(0)
    return TimmBackbone(name=name, **options).eval()


def strides(backbone: TimmBackbone) -> list[int]:
    return [spec.stride for spec in backbone.output_shape().values()]


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "swin_tiny_patch4_window7_224"])
def test_maps_are_timm_s(name: str) -> None:
    backbone = build(name, out_features=ALL_MAPS)
    assert strides(backbone) == [4, 8, 16, 32]
    theirs = timm.create_model(name, features_only=True, **{"strict_img_size": False} if "swin" in name else {}).eval()
    weights = {
        key.removeprefix(f"{name}.model.").replace(".", "_"): value for key, value in backbone.state_dict().items()
    }
    theirs.load_state_dict({key: weights[key.replace(".", "_")] for key in theirs.state_dict()})
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps, expected = backbone(image), theirs(image)[-4:]
    for value, feature in zip(maps.values(), expected, strict=True):
        channels_first = feature.permute(0, 3, 1, 2) if "swin" in name else feature
        torch.testing.assert_close(value, channels_first)


def test_plain_transformer_gives_evenly_spread_blocks() -> None:
    backbone = build("test_vit", out_features=["res2", "res4"])
    assert strides(backbone) == [16, 16]
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = backbone(image)
        blocks = backbone.network.forward_intermediates(image, intermediates_only=True)
    assert len(blocks) == 6
    assert list(maps) == ["res2", "res4"]
    torch.testing.assert_close(maps["res2"], blocks[1])
    torch.testing.assert_close(maps["res4"], blocks[5])


@pytest.mark.parametrize(
    ("all_strides", "levels", "taken"),
    [
        ((2, 4, 8, 16, 32), 3, [1, 2, 3, 4]),
        ((1, 2, 4, 8, 16, 32), 4, [2, 3, 4, 5]),
        ((16, 32, 64), 3, [0, 1, 2]),
        ((8, 8, 16, 32), 2, [1, 2, 3]),
        ((8, 16, 16, 16), 3, [0, 1, 3]),
        ((14,) * 12, 3, [3, 7, 11]),
        ((14,) * 12, 1, [11]),
        ((4, 8, 16), 4, [0, 1, 2]),
    ],
)
def test_choice_of_maps(all_strides: tuple[int, ...], levels: int, taken: list[int]) -> None:
    model = TimmModel(
        channels=(1,) * len(all_strides), strides=all_strides, image_size=(224, 224), any_size={}, has_drop_path=True
    )
    assert model.pyramid(levels) == taken


def test_other_strides_are_declared() -> None:
    with torch.device("meta"):
        backbone = build("efficientvit_m0")
    assert {name: spec.stride for name, spec in backbone.output_shape().items()} == {"res2": 16, "res3": 32, "res4": 64}


@pytest.mark.parametrize("name", [*KINDS, "legacy_xception", "mobilevitv2_050"])
def test_any_size_gives_the_declared_maps(name: str) -> None:
    with torch.device("meta"):
        backbone = build(name)
        for size in ((64, 96), (62, 75)):
            maps = backbone(torch.zeros(2, 3, *size))
            for key, spec in backbone.output_shape().items():
                assert maps[key].shape == (2, spec.channels, *(-(-side // spec.stride) for side in size))


def test_padding_is_at_the_right_and_bottom() -> None:
    backbone = build("test_resnet")
    image = torch.randn(1, 3, 50, 70)
    with torch.no_grad():
        padded = backbone(nn.functional.pad(image, (0, 26, 0, 14)))
        for name, value in backbone(image).items():
            assert torch.equal(value, padded[name][:, :, : value.shape[2], : value.shape[3]])


def test_images_are_resized_for_models_of_one_size() -> None:
    backbone = build("test_vit_relpos")
    assert backbone.image_size == (160, 160)
    assert build("test_vit").image_size is None
    image = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        own = backbone(image)["res4"]
        blocks = backbone.network.forward_intermediates(image, intermediates_only=True)
        torch.testing.assert_close(own, blocks[-1])
        other = backbone(nn.functional.interpolate(image, scale_factor=2, mode="nearest"))["res4"]
    expected = nn.functional.interpolate(own, size=(20, 20), mode="bilinear", align_corners=False)
    torch.testing.assert_close(other, expected)


@pytest.mark.parametrize("name", KINDS)
def test_every_trained_parameter_gets_a_gradient(name: str) -> None:
    backbone = build(name, drop_path_rate=0.1).train()
    sum(x.square().mean() for x in backbone(torch.randn(2, 3, 64, 64)).values()).backward()
    assert [key for key, parameter in backbone.named_parameters() if parameter.grad is None] == []


def test_what_no_map_depends_on_is_not_trained() -> None:
    with torch.device("meta"):
        backbone = build("hrnet_w18_small").train()
        sum(x.square().mean() for x in backbone(torch.zeros(2, 3, 64, 64)).values()).backward()
    idle = {key: parameter for key, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert {key.split(".")[2] for key in idle} == {"stage4"}
    assert all((parameter.grad is None) == (key in idle) for key, parameter in backbone.named_parameters())


def test_maps_that_are_not_asked_for_are_not_built() -> None:
    names = {key.split(".")[2] for key in build("test_resnet", out_features=["res2", "res3"]).state_dict()}
    assert names == {"conv1", "bn1", "layer1", "layer2"}


def test_freezing_counts_the_stem_first() -> None:
    backbone = build("test_resnet", freeze_at=2).train()
    frozen = {key.split(".")[2] for key, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}
    before = copy.deepcopy(backbone.state_dict())
    backbone(torch.randn(2, 3, 64, 64))
    changed = {key.split(".")[2] for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"layer2", "layer3"}
    assert not any(module.training for module in backbone.eval().modules())


def test_checkpointing_changes_memory_not_gradients() -> None:
    image = torch.randn(2, 3, 64, 64)
    gradients = []
    for checkpointed in (False, True):
        backbone = build("test_convnext", activation_checkpointing=checkpointed)
        sum(x.square().mean() for x in backbone(image).values()).backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    torch.testing.assert_close(*gradients)


def test_serves_plain_detectron2() -> None:
    pyramid = FPN(bottom_up=build("test_efficientnet"), in_features=["res2", "res3", "res4"], out_channels=8)
    head = SemSegFPNHead(pyramid.output_shape(), num_classes=5, conv_dims=8, common_stride=4)
    model = SemanticSegmentor(backbone=pyramid, sem_seg_head=head, pixel_mean=[120.0] * 3, pixel_std=[60.0] * 3)
    (result,) = model.eval()([{"image": torch.rand(3, 64, 96) * 255, "height": 50, "width": 70}])
    assert result["sem_seg"].shape == (5, 50, 70)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet5O", {}, r"timm's name of a model, got 'resnet5O'; did you mean resnet50"),
        ("", {}, r"got ''; timm.list_models\(\) lists them"),
        ("test_resnet.of_nobody", {}, r"timm cannot build test_resnet.of_nobody.*Invalid pretrained tag"),
        ("test_resnet", {"out_features": ["res6"]}, r"must name some of \['res2', .*'res5'\], got \['res6'\]"),
        ("test_resnet", {"out_features": ["p2"]}, r"must name some of .*, got \['p2'\]"),
        ("test_resnet", {"out_features": []}, r"must name some of .*, got \[\]"),
        ("poolformer_s12", {"freeze_at": 1}, r"poolformer_s12 are: MODEL.BACKBONE.FREEZE_AT must be 0"),
        ("darknet17", {"activation_checkpointing": True}, r"MODEL.ACTIVATION_CHECKPOINTING must be False"),
    ],
)
def test_what_does_not_work_is_named(name: str, options: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build(name, **options)


def test_models_without_stochastic_depth_say_so(caplog: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"):
        build("ghostnet_050", drop_path_rate=0.1)
        build("test_resnet", drop_path_rate=0.1)
    assert caplog.messages == ["timm's ghostnet_050 has no stochastic depth: DROP_PATH_RATE is ignored"]


def test_drop_path_acts_in_training() -> None:
    backbone = build("test_convnext", drop_path_rate=0.9)
    image = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(backbone(image)["res4"], backbone(image)["res4"])
        backbone.train()
        assert not torch.equal(backbone(image)["res4"], backbone(image)["res4"])


def timm_config(name: str) -> CfgNode:
    cfg = get_cfg()
    add_catseg_config(cfg)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.SIZE, cfg.MODEL.BACKBONE.FREEZE_AT = "TimmBackbone", name, 0
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["res2", "res3"]
    return cfg


@pytest.mark.parametrize(("name", "warned"), [("resnet18", False), ("test_vit", True)])
def test_built_from_config(name: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"):
        backbone = build_backbone(timm_config(name))
    assert isinstance(backbone, TimmBackbone)
    assert list(backbone.output_shape()) == ["res2", "res3"]
    assert any(f"timm's weights of {name} expect MODEL.PIXEL_MEAN [127.5" in text for text in caplog.messages) == warned


def classifier(name: str, classes: int = 7) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return timm.create_model(name, num_classes=classes).state_dict()


def convert(state: dict[str, torch.Tensor], backbone: TimmBackbone) -> dict[str, torch.Tensor]:
    return CONVERTERS["TimmBackbone"](state, {name: value.shape for name, value in backbone.state_dict().items()})


@pytest.mark.parametrize("name", KINDS)
def test_weights_load_without_their_classifier(name: str) -> None:
    backbone = build(name)
    state = classifier(name)
    backbone.load_state_dict(convert(state, backbone))
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, state[key.removeprefix(f"{name}.model.")])


def test_weights_without_a_classifier_load() -> None:
    backbone = build("test_vit")
    state = {key: value for key, value in classifier("test_vit").items() if not key.startswith("head.")}
    backbone.load_state_dict(convert(state, backbone))


def test_weights_in_the_authors_format_load_where_timm_knows_it() -> None:
    backbone = build("convnext_nano")
    names = {"stem.": "downsample_layers.0.", "conv_dw": "dwconv", "mlp.fc": "pwconv", "head.norm": "norm"}
    state = {}
    for key, value in classifier("convnext_nano", 11821).items():
        published = re.sub(r"stages\.(\d)\.downsample", r"downsample_layers.\1", key).replace("head.fc", "head")
        published = re.sub(r"stages\.(\d)\.blocks", r"stages.\1", published)
        for ours, theirs in names.items():
            published = published.replace(ours, theirs)
        state[published] = value
    backbone.load_state_dict(convert(state, backbone))


@pytest.mark.parametrize(
    ("extra", "missing", "message"),
    [
        ("layer3.1.conv1.weight", "", r'Unexpected key.*"layer3.1.conv1.weight"'),
        ("", "layer4.0.conv1.weight", r'Missing key.*"layer4.0.conv1.weight"'),
        ("bn1.weight", "bn1.weight", "size mismatch for bn1.weight"),
    ],
)
def test_other_weights_are_refused(extra: str, missing: str, message: str) -> None:
    backbone = build("test_resnet")
    state = {key: value for key, value in classifier("test_resnet").items() if key != missing}
    if extra:
        state[extra] = torch.zeros(3)
    with pytest.raises(ValueError, match=f"(?s)not the weights of timm's test_resnet.*{message}"):
        convert(state, backbone)
