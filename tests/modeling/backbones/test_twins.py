import pytest
import timm
import torch
from timm.models.twins import LocallyGroupedAttn
from torch import Tensor

from catseg.checkpoint.backbone_weights import CONVERTERS
from catseg.modeling.backbones import TwinsPCPVT, TwinsSVT
from catseg.modeling.backbones.twins import PaddedWindowAttention, Twins

TINY = {
    "embed_dims": [8, 12, 16, 24], "num_heads": [1, 2, 2, 4], "depths": [2, 2, 3, 1], "mlp_ratios": [4, 4, 2, 2],
}  # fmt: skip


def tiny(family: type[Twins] = TwinsSVT, **options: object) -> Twins:
    torch.manual_seed(0)
    windows = {"window_sizes": [3, 3, 3, 3]} if family is TwinsSVT else {}
    return family(**TINY | windows | options).eval()


def published(backbone: Twins) -> dict[str, Tensor]:
    """The backbone's tensors by the names of the segmentation code, with the classifier's norm and head."""
    names = {"patch_embed": "patch_embeds", "norm": "norm_list"}
    state = {name: torch.zeros(5) for name in ("norm.weight", "norm.bias", "head.weight", "head.bias")}
    for name, tensor in backbone.state_dict().items():
        _, stage, part, rest = name.split(".", 3)
        state[f"{names.get(part, part)}.{stage}.{rest}"] = tensor
    return state


def convert(state: dict[str, Tensor], backbone: Twins) -> dict[str, Tensor]:
    shapes = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    return CONVERTERS[type(backbone).__name__](state, shapes)


@pytest.mark.parametrize("family", [TwinsPCPVT, TwinsSVT])
def test_published_names(family: type[Twins]) -> None:
    names = set(published(tiny(family)))
    assert {"patch_embeds.0.proj.weight", "pos_block.3.proj.0.bias", "blocks.2.1.attn.sr.weight"} <= names
    assert {"blocks.0.1.attn.kv.weight", "blocks.1.0.mlp.fc2.bias", "blocks.0.1.attn.norm.weight"} <= names
    windowed = {"blocks.0.0.attn.qkv.weight", "norm_list.3.bias"}
    assert names & windowed == (windowed if family is TwinsSVT else set())


@pytest.mark.parametrize("family", [TwinsPCPVT, TwinsSVT])
def test_segmentation_file_fills_every_tensor(family: type[Twins]) -> None:
    backbone = tiny(family)
    state = {f"backbone.{name}": tensor for name, tensor in published(backbone).items()}
    state |= {f"{kind}_head.conv_seg.weight": torch.zeros(1) for kind in ("decode", "auxiliary")}
    torch.testing.assert_close(convert(state, backbone), backbone.state_dict())


def test_classification_file_leaves_the_output_norms_as_they_are() -> None:
    backbone = tiny()
    state = {name: tensor for name, tensor in published(backbone).items() if not name.startswith("norm_list.")}
    lacking = set(backbone.state_dict()) - set(convert(state, backbone))
    assert lacking == {f"stages.{i}.norm.{kind}" for i in range(4) for kind in ("weight", "bias")}


def test_stages_beyond_the_last_map_are_neither_built_nor_loaded() -> None:
    full, part = tiny(), tiny(out_features=["res3"])
    assert len(part.stages) == 2
    part.load_state_dict(convert(published(full), part))
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(part(image)["res3"], full(image)["res3"])


@pytest.mark.parametrize(
    ("family", "extra", "missing", "message"),
    [
        (TwinsSVT, "blocks.0.2.norm1.weight", "", "1 unknown: stages.0.blocks.2.norm1.weight"),
        (TwinsPCPVT, "norm_list.1.weight", "", "1 unknown: stages.1.norm.weight"),
        (TwinsPCPVT, "", "pos_block.1.proj.0.weight", "1 missing: stages.1.pos_block.proj.0.weight"),
    ],
)
def test_other_files_are_refused(family: type[Twins], extra: str, missing: str, message: str) -> None:
    backbone = tiny(family)
    state = {name: tensor for name, tensor in published(backbone).items() if name != missing}
    if extra:
        state[extra] = torch.zeros(1)
    with pytest.raises(ValueError, match=message):
        convert(state, backbone)


def test_pcpvt_is_timm_s() -> None:
    torch.manual_seed(0)
    theirs = timm.models.twins.Twins(num_classes=7, **TINY).eval()
    ours = tiny(TwinsPCPVT)
    ours.load_state_dict(convert(theirs.state_dict(), ours))
    image = torch.randn(2, 3, 70, 101)
    with torch.no_grad():
        for value, expected in zip(
            ours(image).values(), theirs.forward_intermediates(image, intermediates_only=True), strict=True
        ):
            torch.testing.assert_close(value, expected)


def test_svt_s_norms_feed_the_next_stage() -> None:
    backbone = tiny()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = backbone(image)
        backbone.stages[0].norm.bias.add_(torch.randn(8))
        after = backbone(image)
    for name, maps in before.items():
        torch.testing.assert_close(maps.mean(dim=1), torch.zeros_like(maps[:, 0]), atol=1e-5, rtol=0)
        torch.testing.assert_close(maps.std(dim=1, correction=0), torch.ones_like(maps[:, 0]), atol=1e-3, rtol=0)
        assert not torch.allclose(after[name], maps, atol=1e-3)


def test_norms_have_two_epsilons() -> None:
    epsilons = {name: module.eps for name, module in tiny().named_modules() if isinstance(module, torch.nn.LayerNorm)}
    convolutional = {name for name in epsilons if name.endswith((".patch_embed.norm", ".attn.norm"))}
    assert len(convolutional) == 4 + 3
    assert {name for name, epsilon in epsilons.items() if epsilon == 1e-5} == convolutional
    assert {epsilons[name] for name in epsilons if name not in convolutional} == {1e-6}


def attend(attention: LocallyGroupedAttn, tokens: Tensor, size: tuple[int, int]) -> Tensor:
    with torch.no_grad():
        return attention(tokens.flatten(1, 2), size).unflatten(1, size)


@pytest.mark.parametrize("size", [(6, 6), (6, 4), (4, 6)])
def test_without_padding_on_both_sides_windows_are_timm_s(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours, theirs = PaddedWindowAttention(8, 2, ws=3), LocallyGroupedAttn(8, 2, ws=3)
    theirs.load_state_dict(ours.state_dict())
    tokens = torch.randn(2, *size, 8)
    torch.testing.assert_close(attend(ours, tokens, size), attend(theirs, tokens, size))


def test_padding_on_both_sides_is_hidden() -> None:
    torch.manual_seed(0)
    attention = PaddedWindowAttention(8, 2, ws=3)
    tokens = torch.randn(2, 4, 5, 8)
    result = attend(attention, tokens, (4, 5))
    torch.testing.assert_close(result[:, :3, :3], attend(attention, tokens[:, :3, :3], (3, 3)))
    for row in (slice(0, 3), slice(3, 4)):  # the last window's columns are 3 and 4
        window = tokens[:, row, 3:].flatten(1, 2)
        with torch.no_grad():
            q, k, v = attention.qkv(window).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
            values = torch.nn.functional.scaled_dot_product_attention(q, k, v)
            expected = attention.proj(values.transpose(1, 2).flatten(2))
        torch.testing.assert_close(result[:, row, 3:].flatten(1, 2), expected)


def test_images_smaller_than_the_subsampling_are_named() -> None:
    with pytest.raises(ValueError, match=r"sides of 32 pixels or more, got \(31, 64\)"):
        tiny()(torch.zeros(1, 3, 31, 64))
