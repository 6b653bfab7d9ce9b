import pytest
import torch
import torchvision
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone

from catseg.checkpoint.backbone_weights import CONVERTERS, RESNET
from catseg.modeling.backbones import D2SwinTransformer

convert_swin = CONVERTERS["D2SwinTransformer"]
ALL_MAPS = ["res2", "res3", "res4", "res5"]


def four_stage_classifier() -> dict[str, torch.Tensor]:
    """What a classification checkpoint of Swin holds: four stages, a last norm, a head, no output norms."""
    full = D2SwinTransformer(
        embed_dim=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2], window_size=4, out_features=ALL_MAPS
    )
    state = {name: tensor for name, tensor in full.state_dict().items() if not name.startswith("norm")}
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16)
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 16, 16)
    return state | {name: torch.zeros(3) for name in ("norm.weight", "norm.bias", "head.weight", "head.bias")}


@pytest.mark.parametrize("depths", [[1, 1, 2], [1, 1, 2, 1]])
def test_swin_classifiers_load_into_backbones_of_fewer_stages(depths: list[int]) -> None:
    heads = [1, 1, 2, 2][: len(depths)]
    backbone = D2SwinTransformer(
        embed_dim=8, depths=depths, num_heads=heads, window_size=4, out_features=ALL_MAPS[: len(depths)]
    )
    state = backbone.state_dict()
    converted = convert_swin(four_stage_classifier(), {name: tensor.shape for name, tensor in state.items()})
    assert set(state) - set(converted) == {f"norm{i}.{kind}" for i in range(len(depths)) for kind in ("weight", "bias")}


def test_swin_of_another_size_is_refused() -> None:
    backbone = D2SwinTransformer(embed_dim=8, depths=[1, 1, 3], num_heads=[1, 1, 2], window_size=4)
    with pytest.raises(ValueError, match=r"missing: layers.2.blocks.2.norm1.weight"):
        convert_swin(four_stage_classifier(), {name: tensor.shape for name, tensor in backbone.state_dict().items()})


def test_swin_stages_that_are_not_wanted_are_left_out_of_a_full_file() -> None:
    full = D2SwinTransformer(
        embed_dim=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2], window_size=4, out_features=ALL_MAPS
    )
    part = D2SwinTransformer(
        embed_dim=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2], window_size=4, out_features=ALL_MAPS[:3]
    )
    expected = {name: tensor.shape for name, tensor in part.state_dict().items()}
    assert set(convert_swin(full.state_dict(), expected)) == set(expected)


def test_resnet_of_torchvision_gives_the_same_maps_in_detectron2() -> None:
    cfg = get_cfg()
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    backbone = build_backbone(cfg).eval()
    official = torchvision.models.resnet50().eval()
    expected = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    backbone.load_state_dict(RESNET.convert(official.state_dict(), expected))
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        x = official.maxpool(official.relu(official.bn1(official.conv1(image))))
        for name, layer in zip(ALL_MAPS, ("layer1", "layer2", "layer3", "layer4"), strict=True):
            x = getattr(official, layer)(x)
            torch.testing.assert_close(backbone(image)[name], x, rtol=1e-3, atol=1e-4)
