import re
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from catseg.checkpoint.backbone_weights import CONVERTERS
from catseg.modeling.backbones import MPViT
from catseg.modeling.backbones.mpvit import FactorizedAttention, RelativePosition

SMALL = {"embed_dims": (8, 16, 24, 32), "depths": (1, 2, 1, 1), "mlp_ratios": (2, 2, 2, 2)}


def small_mpvit(**options: object) -> MPViT:
    return MPViT(**SMALL | options).eval()


def published_names(name: str, depths: tuple[int, ...]) -> list[str]:
    """The names under which the authors' files hold our tensor `name`, in the order of those files."""
    match = re.match(r"stages\.(\d+)\.paths\.(\d+)\.(embedding|position|relative|layers)\.(.*)", name)
    if match is None:
        return [re.sub(r"^stages\.", "mhca_stages.", name).replace(".local.", ".InvRes.")]
    stage, path, kind, rest = match.groups()
    block = f"mhca_stages.{stage}.mhca_blks.{path}."
    layers = [f"{block}MHCA_layers.{i}." for i in range(depths[int(stage)])]
    if kind == "embedding":
        return [f"patch_embed_stages.{stage}.patch_embeds.{path}.patch_conv.{rest}"]
    if kind == "position":
        return [f"{prefix}cpe.proj.{rest}" for prefix in (block, *layers)]
    if kind == "relative":
        inner = (f"{layer}{owner}" for layer in layers for owner in ("", "factoratt_crpe."))
        return [f"{prefix}crpe.conv_list.{rest}" for prefix in (block, *inner)]
    return [f"{block}MHCA_layers.{rest.replace('attn.', 'factoratt_crpe.')}"]


def published(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    return {prefix + other: state[name] for name in state for other in published_names(name, SMALL["depths"])}


def convert(state: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    return CONVERTERS["MPViT"](state, {name: tensor.shape for name, tensor in backbone.state_dict().items()})


def assert_equal(converted: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert set(converted) == set(expected)
    assert all(torch.equal(converted[name], tensor) for name, tensor in expected.items())


def test_classifiers_and_segmenters_load() -> None:
    backbone = small_mpvit()
    state = backbone.state_dict()
    head = {"cls_head.cls.weight": torch.zeros(10, 32), "cls_head.cls.bias": torch.zeros(10)}
    assert_equal(convert(published(state) | head, backbone), state)
    heads = {"decode_head.conv_seg.weight": torch.zeros(3), "auxiliary_head.conv_seg.bias": torch.zeros(3)}
    assert_equal(convert(published(state, "backbone.") | heads, backbone), state)


def test_of_several_copies_the_last_layers_counts() -> None:
    backbone = small_mpvit()
    file = published(backbone.state_dict())
    path = "mhca_stages.1.mhca_blks.2."
    for name in file:
        if name.startswith(path) and "cpe." in name and not name.startswith(f"{path}MHCA_layers.1.cpe"):
            file[name] = torch.full_like(file[name], torch.nan)
    assert_equal(convert(file, backbone), backbone.state_dict())


def test_stages_that_were_not_built_are_left_out() -> None:
    backbone = small_mpvit(out_features=["res2", "res3"])
    assert list(backbone.output_shape()) == ["res2", "res3"]
    assert len(backbone.stages) == 2
    state = small_mpvit().state_dict()
    assert_equal(convert(published(state), backbone), {name: state[name] for name in backbone.state_dict()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mhca_stages.0.extra.weight": torch.zeros(1)}, "unknown: stages.0.extra.weight"),
        ({"stem.0.conv.weight": torch.zeros(4, 3, 5, 5)}, "another shape: stem.0.conv.weight"),
        ({"stem.0.conv.weight": None}, "missing: stem.0.conv.weight"),
    ],
)
def test_other_files_are_refused(change: dict[str, Tensor | None], message: str) -> None:
    backbone = small_mpvit()
    file = {name: tensor for name, tensor in (published(backbone.state_dict()) | change).items() if tensor is not None}
    with pytest.raises(ValueError, match=message):
        convert(file, backbone)


def test_layers_of_a_path_share_their_positions() -> None:
    names = {name for name, _ in small_mpvit().named_parameters() if re.search("position|relative", name)}
    paths = [f"stages.{stage}.paths.{path}." for stage, count in enumerate((2, 3, 3, 3)) for path in range(count)]
    kinds = [f"{kind}.{leaf}" for kind in ("position", "relative.0", "relative.1", "relative.2")
             for leaf in ("weight", "bias")]  # fmt: skip
    assert names == {path + kind for path in paths for kind in kinds}


def test_epsilons_are_the_published_ones() -> None:
    modules = list(small_mpvit().modules())
    assert {module.eps for module in modules if isinstance(module, nn.LayerNorm)} == {1e-6}
    assert {module.eps for module in modules if isinstance(module, nn.BatchNorm2d)} == {1e-5}


def test_widths_are_those_of_the_next_stage() -> None:
    shapes = small_mpvit().output_shape()
    assert [spec.channels for spec in shapes.values()] == [16, 24, 32, 32]
    assert [spec.stride for spec in shapes.values()] == [4, 8, 16, 32]


def test_attention_scales_the_context_alone() -> None:
    """Equal keys average the values over the tokens; the relative positions see the unscaled query."""
    attention = FactorizedAttention(64)
    relative = RelativePosition(64)
    for conv in relative:
        nn.init.zeros_(conv.weight)
        nn.init.constant_(conv.bias, 2.0)
    with torch.no_grad():
        attention.qkv.weight[64:128] = 0
        attention.proj.weight.copy_(torch.eye(64))
        attention.proj.bias.zero_()
        x = torch.randn(2, 3, 5, 64)
        query, _, value = attention.qkv(x).chunk(3, dim=-1)
        means = value.mean(dim=(1, 2)).view(2, 1, 1, 8, 8)
        context = query.unflatten(-1, (8, 8)).sum(-1, keepdim=True) * means / 8**0.5
        torch.testing.assert_close(attention(x, relative), context.flatten(3) + 2 * query)


def test_relative_positions_reach_further_for_later_heads() -> None:
    relative = RelativePosition(16)
    for conv in relative:
        nn.init.ones_(conv.weight)
        nn.init.zeros_(conv.bias)
    impulse = torch.zeros(1, 9, 9, 16)
    impulse[:, 4, 4] = 1
    with torch.no_grad():
        reached = relative(impulse).count_nonzero(dim=(0, 1, 2))
    assert reached.tolist() == [9] * 4 + [25] * 6 + [49] * 6


def test_widths_must_divide_into_heads() -> None:
    with pytest.raises(ValueError, match=r"embed_dims must be multiples of 8, .* got \(8, 12, 24, 32\)"):
        small_mpvit(embed_dims=(8, 12, 24, 32))
