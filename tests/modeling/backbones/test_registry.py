"""What holds for every backbone of the project, whatever its family and size."""

import copy
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import BACKBONE_REGISTRY, FPN, build_backbone
from detectron2.modeling.meta_arch.semantic_seg import SemanticSegmentor, SemSegFPNHead

from catseg.config import add_catseg_config, load_config
from catseg.modeling import backbones
from catseg.modeling.backbones import D2SwinTransformer, TimmBackbone
from catseg.modeling.backbones.pyramid import PyramidBackbone, SizedBackbone

SMALL_SWIN = {"embed_dim": 8, "depths": [1, 2, 1], "num_heads": [1, 2, 4], "window_size": 4}
FAMILIES: dict[str, type[SizedBackbone]] = {
    name: family
    for name, family in inspect.getmembers(backbones, inspect.isclass)
    if issubclass(family, SizedBackbone) and family.sizes
}
SIZES = [(name, size) for name, family in FAMILIES.items() for size in family.sizes]
TIMM = ["resnet10t", "convnext_atto", "pvt_v2_b0"]
SMALLEST = ["D2SwinTransformer", *FAMILIES, *TIMM]


def build(name: str, size: str | None = None, **options: Any) -> PyramidBackbone:
    """A backbone, of its family's first size if none is given; the names in `TIMM` are timm's."""
    torch.manual_seed(0)
    if name in TIMM:
        return TimmBackbone(name=name, **options)
    if name == "D2SwinTransformer":
        return D2SwinTransformer(**SMALL_SWIN | options)
    family = FAMILIES[name]
    arguments = dict(family.sizes[size or next(iter(family.sizes))])
    return family(**arguments | {"out_features": ["res2", "res3", "res4"]} | options)


def test_every_family_is_registered() -> None:
    for name, family in {**FAMILIES, "D2SwinTransformer": D2SwinTransformer, "TimmBackbone": TimmBackbone}.items():
        assert BACKBONE_REGISTRY.get(name) is family


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_published_sizes_give_the_declared_maps(name: str, size: str) -> None:
    with torch.device("meta"):
        backbone = build(name, size).eval()
        maps = backbone(torch.zeros(2, 3, 384, 384))
    shapes = backbone.output_shape()
    assert list(maps) == list(shapes) == ["res2", "res3", "res4"]
    for key, spec in shapes.items():
        assert maps[key].shape == (2, spec.channels, 384 // spec.stride, 384 // spec.stride)


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_each_size_has_a_config_that_builds_it(name: str, size: str) -> None:
    chosen = {}
    for path in Path("configs/backbones").glob("*.yaml"):
        cfg = load_config(path)
        chosen[cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.SIZE] = cfg
    cfg = chosen[name, size]
    with torch.device("meta"):
        assert isinstance(build_backbone(cfg), FAMILIES[name])


@pytest.mark.parametrize("name", FAMILIES)
def test_unknown_size_is_named(name: str) -> None:
    cfg = get_cfg()
    add_catseg_config(cfg)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.SIZE = name, "gigantic"
    with pytest.raises(ValueError, match=f"MODEL.BACKBONE.SIZE of {name} must be one of .*, got 'gigantic'"):
        build_backbone(cfg)


@pytest.mark.parametrize("name", SMALLEST)
def test_unknown_maps_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=r"OUT_FEATURES must name some of .*res2.*, got \['res1'\]"):
        build(name, out_features=["res1"])


@pytest.mark.parametrize("name", SMALLEST)
def test_sizes_that_are_no_multiple_of_the_stride(name: str) -> None:
    backbone = build(name).eval()
    divisor = max(backbone.size_divisibility, 1)
    for height, width in ((64, 96), (62, 75), (97, 64)):
        size = (-(-height // divisor) * divisor, -(-width // divisor) * divisor)
        with torch.no_grad():
            maps = backbone(torch.randn(1, 3, *size))
        for key, spec in backbone.output_shape().items():
            assert maps[key].isfinite().all()
            rounded = [(side // spec.stride, -(-side // spec.stride)) for side in size]
            assert all(low <= side <= high for side, (low, high) in zip(maps[key].shape[2:], rounded, strict=True))


@pytest.mark.parametrize("name", SMALLEST)
def test_every_trained_parameter_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    backbone = build(name).train()
    maps = backbone(torch.randn(2, 3, 64, 64))
    sum(x.square().mean() for x in maps.values()).backward()
    without = [key for key, parameter in backbone.named_parameters() if parameter.grad is None]
    assert without == []
    assert all(parameter.grad.isfinite().all() for parameter in backbone.parameters())


@pytest.mark.parametrize("name", SMALLEST)
def test_state_dict_makes_an_equal_copy(name: str) -> None:
    one = build(name).eval()
    other = build(name).eval()
    state = {key: value + 0.01 * torch.randn_like(value) if value.is_floating_point() else value
             for key, value in one.state_dict().items() if "running_var" not in key}  # fmt: skip
    one.load_state_dict(state, strict=False)
    other.load_state_dict(one.state_dict())
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for key, value in one(image).items():
            assert torch.equal(other(image)[key], value)


@pytest.mark.parametrize("name", SMALLEST)
def test_a_batch_gives_what_its_images_give_alone(name: str) -> None:
    backbone = build(name).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        together = backbone(images)
        for i in range(2):
            for key, value in backbone(images[i : i + 1]).items():
                torch.testing.assert_close(together[key][i : i + 1], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SMALLEST)
def test_bfloat16_autocast_stays_close(name: str) -> None:
    backbone = build(name).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        full = backbone(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = backbone(image)
    for key, value in full.items():
        assert (half[key].float() - value).std() < 0.1 * value.std()


@pytest.mark.parametrize("name", SMALLEST)
def test_the_graph_can_be_captured_whole(name: str) -> None:
    backbone = build(name).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = backbone(image)
        captured = torch.compile(copy.deepcopy(backbone), backend="eager", fullgraph=True)(image)
    for key, value in expected.items():
        torch.testing.assert_close(captured[key], value)


@pytest.mark.parametrize("name", SMALLEST)
def test_freezing_stops_the_first_parts(name: str) -> None:
    parts = len(build(name).stage_modules())
    for freeze_at in (0, 1, parts):
        backbone = build(name, freeze_at=freeze_at)
        for i, part in enumerate(backbone.stage_modules()):
            parameters = [
                p for item in part for p in ([item] if isinstance(item, torch.nn.Parameter) else item.parameters())
            ]
            assert all(parameter.requires_grad == (i >= freeze_at) for parameter in parameters)
    assert not any(parameter.requires_grad for parameter in backbone.parameters()), "a parameter is in no part"


@pytest.mark.parametrize("name", SMALLEST)
def test_checkpointing_changes_memory_not_gradients_nor_statistics(name: str) -> None:
    image = torch.randn(2, 3, 64, 64)
    gradients, buffers = [], []
    for checkpointed in (False, True):
        backbone = build(name, activation_checkpointing=checkpointed, drop_path_rate=0.3).train()
        torch.manual_seed(1)
        sum(x.square().mean() for x in backbone(image).values()).backward()
        gradients.append({key: parameter.grad for key, parameter in backbone.named_parameters()})
        buffers.append(dict(backbone.named_buffers()))
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient, msg=key)
    for key, buffer in buffers[0].items():
        assert torch.equal(buffers[1][key], buffer), key
        assert not key.endswith("num_batches_tracked") or buffer == 1


@pytest.mark.parametrize("name", SMALLEST)
def test_drop_path_acts_in_training_alone(name: str) -> None:
    backbone = build(name, drop_path_rate=0.9)
    image = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter += 0.1 * torch.randn_like(parameter)  # some branches start at 0
        backbone.eval()
        assert torch.equal(backbone(image)["res4"], backbone(image)["res4"])
        backbone.train()
        assert not torch.equal(backbone(image)["res4"], backbone(image)["res4"])


@pytest.mark.parametrize("name", SMALLEST)
def test_serves_plain_detectron2(name: str) -> None:
    backbone = build(name)
    pyramid = FPN(bottom_up=backbone, in_features=["res2", "res3", "res4"], out_channels=8)
    head = SemSegFPNHead(pyramid.output_shape(), num_classes=5, conv_dims=8, common_stride=4)
    model = SemanticSegmentor(backbone=pyramid, sem_seg_head=head, pixel_mean=[120.0] * 3, pixel_std=[60.0] * 3)
    batch = [{"image": torch.rand(3, 64, 96) * 255, "sem_seg": torch.randint(5, (64, 96))}]
    sum(model.train()(batch).values()).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    (result,) = model.eval()([{"image": torch.rand(3, 64, 96) * 255, "height": 50, "width": 70}])
    assert result["sem_seg"].shape == (5, 50, 70)


@pytest.mark.parametrize("name", SMALLEST)
def test_what_is_frozen_keeps_its_statistics(name: str) -> None:
    backbone = build(name).requires_grad_(False).train()
    before = copy.deepcopy(backbone.state_dict())
    backbone(torch.randn(2, 3, 64, 64))
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", SMALLEST)
def test_frozen_stages_keep_their_statistics(name: str) -> None:
    backbone = build(name, freeze_at=2).train()
    before = copy.deepcopy(backbone.state_dict())
    backbone(torch.randn(2, 3, 64, 64))
    for key, value in backbone.named_buffers():
        if "running_" in key:
            weight = backbone.get_parameter(f"{key.rsplit('.', 1)[0]}.weight")
            assert torch.equal(value, before[key]) == (not weight.requires_grad), key
