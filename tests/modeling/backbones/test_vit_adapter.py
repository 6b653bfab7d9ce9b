import re

import pytest
import torch
from detectron2.modeling import build_backbone
from torch import Tensor, nn

from catseg.checkpoint.backbone_weights import CONVERTERS
from catseg.config import load_config
from catseg.modeling.backbones import ViTAdapter
from catseg.modeling.backbones.vit_adapter_blocks import Layout, ViTBlock, WindowAttention, join_levels

TINY = {
    "embed_dim": 24, "num_heads": 3, "deform_num_heads": 2, "pretrain_size": 64, "depth": 4, "prior_width": 8,
    "interaction_indexes": [(i, i) for i in range(4)],
}  # fmt: skip


def tiny(**options: object) -> ViTAdapter:
    torch.manual_seed(0)
    return ViTAdapter(**TINY | options).eval()


def randomise(module: nn.Module) -> None:
    """Switch on what starts at 0 or 1."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)


def published(backbone: ViTAdapter) -> dict[str, Tensor]:
    """The backbone's tensors by the names of the authors' segmentation files, with heads."""
    state = {"decode_head.conv_seg.weight": torch.zeros(1), "auxiliary_head.conv_seg.weight": torch.zeros(1)}
    for name, tensor in backbone.state_dict().items():
        name = re.sub(r"(blocks\.\d+)\.ls([12])\.gamma", r"\1.gamma\2", name)
        state["backbone." + name.replace("ffn.dwconv.", "ffn.dwconv.dwconv.")] = tensor
    return state


def classifier(backbone: ViTAdapter) -> dict[str, Tensor]:
    """What a classification file of the ViT alone holds."""
    parts = ("pos_embed", "patch_embed", "blocks")
    state = {key: x for key, x in backbone.state_dict().items() if key.startswith(parts) and ".ls" not in key}
    extra = ("cls_token", "norm.weight", "norm.bias", "head.weight", "head.bias")
    return state | {name: torch.zeros(24) for name in extra}


def convert(state: dict[str, Tensor], backbone: ViTAdapter) -> dict[str, Tensor]:
    return CONVERTERS["ViTAdapter"](state, {name: tensor.shape for name, tensor in backbone.state_dict().items()})


def test_published_names() -> None:
    names = {name.removeprefix("backbone.") for name in published(tiny())}
    assert {"pos_embed", "level_embed", "patch_embed.proj.weight", "blocks.3.gamma1", "blocks.0.attn.qkv.bias"} <= names
    assert {"spm.stem.7.running_var", "spm.conv4.0.weight", "spm.fc1.bias", "up.weight", "norm4.running_mean"} <= names
    assert {"interactions.0.injector.gamma", "interactions.3.extra_extractors.1.attn.value_proj.weight"} <= names
    assert {"interactions.1.extractor.ffn.dwconv.dwconv.weight", "interactions.1.extractor.ffn_norm.bias"} <= names
    assert not any(name.startswith("interactions.2.extra_") for name in names)


def test_segmentation_file_fills_every_tensor() -> None:
    backbone = tiny()
    torch.testing.assert_close(convert(published(backbone), backbone), backbone.state_dict())


def test_segmentation_file_must_be_whole() -> None:
    state = published(tiny())
    del state["backbone.interactions.2.injector.gamma"], state["backbone.blocks.1.gamma2"]
    state["backbone.strange"] = torch.zeros(1)
    expected = r"1 unknown: strange; 2 missing: blocks.1.ls2.gamma, interactions.2.injector.gamma"
    with pytest.raises(ValueError, match=expected):
        convert(state, tiny())


def test_classification_file_fills_the_vit_alone() -> None:
    backbone = tiny()
    converted = convert(classifier(backbone), backbone)
    assert {name.split(".")[0] for name in converted} == {"pos_embed", "patch_embed", "blocks"}
    lacking = {name for name in backbone.state_dict() if name.startswith("blocks")} - set(converted)
    assert lacking == {f"blocks.{i}.ls{j}.gamma" for i in range(4) for j in (1, 2)}


def test_classification_file_must_have_the_whole_vit() -> None:
    state = classifier(tiny())
    del state["blocks.3.attn.qkv.weight"]
    with pytest.raises(ValueError, match=r"\(the ViT of .* alone.*1 missing: blocks.3.attn.qkv.weight"):
        convert(state, tiny())


def test_table_of_another_pretraining_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pos_embed \(1, 17, 24\) instead of \(1, 37, 24\)"):
        convert(classifier(tiny()), tiny(pretrain_size=96))


def test_what_only_other_maps_need_is_neither_built_nor_loaded() -> None:
    full, part = tiny(), tiny(out_features=["res3", "res4"])
    randomise(full)
    part.load_state_dict(convert(published(full), part))
    assert not any(name.startswith(("up.", "norm1.", "norm4.", "spm.fc1.")) for name in part.state_dict())
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = full(image)
        for name, value in part(image).items():
            assert torch.equal(value, expected[name])


@pytest.mark.parametrize("size", [(62, 64), (64, 80)])
def test_sides_that_are_no_multiple_of_32_are_named(size: tuple[int, int]) -> None:
    backbone = tiny()
    assert backbone.size_divisibility == 32
    with pytest.raises(ValueError, match=rf"multiples of 32 pixels, got {size[0]} x {size[1]}: pad or resize"):
        backbone(torch.zeros(1, 3, *size))


@pytest.mark.parametrize("grid", [(25, 24), (24, 7)])
def test_odd_cost_volumes_are_refused_before_anything_is_built(grid: tuple[int, int]) -> None:
    cfg = load_config("configs/backbones/catseg_vit_adapter_tiny_ade150.yaml")
    cfg.MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION = list(grid)
    with pytest.raises(ValueError, match=rf"FEATURE_RESOLUTION must be even, got \[{grid[0]}, {grid[1]}\]"):
        build_backbone(cfg)
    cfg.MODEL.META_ARCHITECTURE = "SemanticSegmentor"  # has no cost volume
    with torch.device("meta"):
        assert isinstance(build_backbone(cfg), ViTAdapter)


def test_epsilons() -> None:
    modules = list(tiny().modules())
    assert {module.eps for module in modules if isinstance(module, nn.LayerNorm)} == {1e-6}
    assert {module.eps for module in modules if isinstance(module, nn.BatchNorm2d)} == {1e-5}


def test_positions_are_the_table_at_the_pretraining_size_and_resized_elsewhere() -> None:
    backbone = tiny()
    with torch.no_grad():
        backbone.pos_embed.copy_(torch.linspace(0, 1, 17)[None, :, None].expand(1, 17, 24))
        assert torch.equal(backbone._positions((4, 4)).flatten(0, 1), backbone.pos_embed[0, 1:])
        resized = backbone._positions((8, 2))
    assert resized.shape == (8, 2, 24)
    assert resized[:, 0, 0].diff().min() > 0, "a table that grows from row to row does not any more"


def test_the_class_tokens_position_has_no_effect() -> None:
    backbone = tiny()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = backbone(image)["res4"]
        backbone.pos_embed[:, 0] += 1
        assert torch.equal(backbone(image)["res4"], before)


def test_levels_are_cut_and_joined() -> None:
    layout = Layout.of((4, 6), torch.device("cpu"))
    assert layout.pyramid_grids == ((8, 12), (4, 6), (2, 3))
    pyramid = torch.randn(2, len(layout.pyramid_centres), 5)
    levels = layout.split(pyramid)
    assert [tuple(x.shape) for x in levels] == [(2, 5, 8, 12), (2, 5, 4, 6), (2, 5, 2, 3)]
    assert torch.equal(join_levels(levels), pyramid)
    assert torch.equal(levels[1][:, :, 1, 2], pyramid[:, 8 * 12 + 6 + 2])


def windowed_by_definition(attention: WindowAttention, x: Tensor) -> Tensor:
    """Attention window by window, with an explicit softmax over tokens and the zeros that fill up the window."""
    _, rows, columns, dim = x.shape
    side, width = attention.window, dim // attention.num_heads
    qkv = attention.qkv(x)
    out = torch.zeros_like(x)
    for top in range(0, rows, side):
        for left in range(0, columns, side):
            inside = qkv[:, top : top + side, left : left + side]
            height, length = inside.shape[1:3]
            filled = torch.zeros(len(x), side, side, 3, attention.num_heads, width)
            filled[:, :height, :length] = inside.reshape(len(x), height, length, 3, attention.num_heads, width)
            query, key, value = filled.flatten(1, 2).permute(2, 0, 3, 1, 4)
            result = (query @ key.transpose(2, 3) / width**0.5).softmax(-1) @ value
            result = result.transpose(1, 2).reshape(len(x), side, side, dim)
            out[:, top : top + side, left : left + side] = result[:, :height, :length]
    return attention.proj(out)


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 2)])
def test_windows_that_jut_out_hold_zeros_that_are_attended_to(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    attention = ViTBlock(dim=24, heads=3, mlp_ratio=1, window=3, drop_path=0).attn
    x = torch.randn(2, *size, 24)
    with torch.no_grad():
        torch.testing.assert_close(attention(x), windowed_by_definition(attention, x))


def test_a_window_as_large_as_the_map_is_attention_to_all() -> None:
    everywhere, windowed = tiny(), tiny(windows=[4, 0, 4, 0])
    windowed.load_state_dict(everywhere.state_dict())
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for name, value in everywhere(image).items():
            torch.testing.assert_close(windowed(image)[name], value)


def test_injectors_are_off_at_first() -> None:
    backbone = tiny(add_vit_features=False)
    assert all(interaction.injector.gamma.abs().max() == 0 for interaction in backbone.interactions)


def test_drop_path_of_the_vit_rises_and_the_extractors_have_the_last_rate() -> None:
    backbone = tiny(drop_path_rate=0.3)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in backbone.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])
    assert {interaction.extractor.drop_path.drop_prob for interaction in backbone.interactions} == {0.3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"interaction_indexes": [(0, 1), (2, 4)]},
            r"pairs of first and last block among 4, got \[\(0, 1\), \(2, 4\)\]",
        ),
        ({"interaction_indexes": []}, "pairs of first and last block"),
        ({"interaction_indexes": [(0, 3)]}, "add_vit_features needs 4 interactions, one per map, got 1"),
        ({"windows": [3, 0]}, "windows must have one entry for each of 4 blocks, got 2"),
        ({"pretrain_size": 100}, "pretrain_size must be a multiple of 16, got 100"),
        ({"deform_num_heads": 5}, "5 heads cannot split 24 channels"),
    ],
)
def test_arguments_that_do_not_fit_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**options)
