import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone
from hypothesis import given, settings
from hypothesis import strategies as st

from catseg.config import add_catseg_config
from catseg.modeling.backbones import D2SwinTransformer


def small_swin(**options: object) -> D2SwinTransformer:
    arguments = {"embed_dim": 8, "depths": [2, 2, 2], "num_heads": [1, 2, 4], "window_size": 4}
    return D2SwinTransformer(**arguments | options).eval()


@settings(max_examples=10, deadline=None)
@given(height=st.integers(16, 70), width=st.integers(16, 70))
def test_any_size_gives_maps_rounded_up(height: int, width: int) -> None:
    with torch.no_grad():
        maps = small_swin()(torch.rand(1, 3, height, width))
    assert list(maps) == ["res2", "res3", "res4"]
    for name, stride in (("res2", 4), ("res3", 8), ("res4", 16)):
        assert maps[name].shape[2:] == (-(-height // stride), -(-width // stride))
        assert maps[name].isfinite().all()


def test_output_shape_tells_what_forward_gives() -> None:
    backbone = small_swin(out_features=["res3"])
    maps = backbone(torch.rand(1, 3, 32, 32))
    assert {name: (spec.channels, spec.stride) for name, spec in backbone.output_shape().items()} == {"res3": (16, 8)}
    assert list(maps) == ["res3"]
    assert maps["res3"].shape == (1, 16, 4, 4)


def test_built_from_config() -> None:
    cfg = get_cfg()
    add_catseg_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "D2SwinTransformer"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.SWIN.EMBED_DIM, cfg.MODEL.SWIN.DEPTHS, cfg.MODEL.SWIN.NUM_HEADS = 8, [2, 2], [1, 2]
    cfg.MODEL.SWIN.OUT_FEATURES = ["res2", "res3"]
    backbone = build_backbone(cfg)
    assert isinstance(backbone, D2SwinTransformer)
    assert {name: spec.channels for name, spec in backbone.output_shape().items()} == {"res2": 8, "res3": 16}


@pytest.mark.parametrize(("freeze_at", "expected"), [(0, 0), (1, 1), (2, 2), (4, 4)])
def test_freeze_at_counts_the_stem_first(freeze_at: int, expected: int) -> None:
    backbone = small_swin(freeze_at=freeze_at)
    frozen = [
        not any(parameter.requires_grad for module in part for parameter in module.parameters())
        for part in backbone.stage_modules()
    ]
    assert frozen == [True] * expected + [False] * (4 - expected)
    assert sum(len(part) for part in backbone.stage_modules()) == 1 + 2 * 3


def test_checkpointing_changes_memory_not_numbers() -> None:
    torch.manual_seed(0)
    plain = small_swin()
    recomputed = small_swin(activation_checkpointing=True)
    recomputed.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 40, 40)
    for backbone in (plain, recomputed):
        backbone(image)["res4"].square().sum().backward()
    for one, other in zip(plain.parameters(), recomputed.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out_features": ["res2", "res9"]}, r"OUT_FEATURES must name some of .*res4.*, got .*res9"),
        ({"out_features": []}, "OUT_FEATURES must name some"),
        ({"num_heads": [1, 2]}, "must have equal lengths"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_swin(**options)


def test_published_parameters_have_official_names() -> None:
    names = set(small_swin().state_dict())
    assert "patch_embed.proj.weight" in names
    assert "layers.0.blocks.1.attn.relative_position_bias_table" in names
    assert "layers.1.downsample.reduction.weight" in names
    assert not any(name.startswith("layers.2.downsample") for name in names)
    assert {"norm0.weight", "norm1.weight", "norm2.weight"} <= names


def test_stages_beyond_the_last_map_are_not_built() -> None:
    backbone = small_swin(depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2], out_features=["res2", "res3"])
    assert len(backbone.layers) == 2
    assert backbone.layers[1].downsample is None
