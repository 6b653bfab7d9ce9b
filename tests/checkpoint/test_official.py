import pytest
import torch

from catseg.checkpoint.official import CAT_SEG, RenameTable, convert_swin
from catseg.modeling.backbones import D2SwinTransformer

TABLE = RenameTable(
    source="a test",
    renames=((r"old\.", "new."), (r"new\.(\d)\.", r"new.block\1.")),
    dropped=(r".*\.index",),
    optional=(r"extra\..*",),
)


def shapes(**tensors: tuple[int, ...]) -> dict[str, torch.Size]:
    return {name.replace("__", "."): torch.Size(shape) for name, shape in tensors.items()}


def test_tensors_are_renamed_dropped_and_optional() -> None:
    state = {"old.1.weight": torch.ones(2), "old.1.index": torch.zeros(3), "new.bias": torch.zeros(1)}
    expected = shapes(new__block1__weight=(2,), new__bias=(1,), extra__norm=(4,))
    converted = TABLE.convert(state, expected)
    assert set(converted) == {"new.block1.weight", "new.bias"}
    assert converted["new.block1.weight"] is state["old.1.weight"]
    assert set(state) == {"old.1.weight", "old.1.index", "new.bias"}


def test_renaming_is_anchored() -> None:
    assert TABLE.rename("very.old.1.weight") == "very.old.1.weight"


def test_unknown_missing_and_misshapen_tensors_are_listed() -> None:
    state = {"old.1.weight": torch.ones(2), "stranger": torch.ones(1)}
    with pytest.raises(ValueError, match=r"1 unknown: stranger; 1 missing: new.bias; 1 of another shape: ") as error:
        TABLE.convert(state, shapes(new__block1__weight=(3,), new__bias=(1,)))
    assert "new.block1.weight (2,) instead of (3,)" in str(error.value)
    assert "a test" in str(error.value)


@pytest.mark.parametrize(
    ("official", "ours"),
    [
        ("backbone.norm0.weight", "backbone.norm0.weight"),
        ("transformer.conv1.weight", "cost_embedding.conv.weight"),
        ("transformer.decoder_guidance_projection.1.0.bias", "guidance.decoder.1.bias"),
        ("transformer.layers.1.swin_block.block_2.attn.q.weight", "layers.1.spatial.blocks.1.attn.q.weight"),
        ("transformer.layers.0.swin_block.guidance_norm.bias", "layers.0.spatial.guidance_norm.bias"),
        ("transformer.layers.0.attention.attention.k.bias", "layers.0.class_.attn.k.bias"),
        ("transformer.layers.0.attention.MLP.2.weight", "layers.0.class_.mlp.fc2.weight"),
        ("transformer.layers.0.attention.norm1.weight", "layers.0.class_.norm1.weight"),
        ("transformer.decoder2.conv.double_conv.4.bias", "decoder.stages.1.norm2.bias"),
        ("transformer.head.weight", "decoder.head.weight"),
    ],
)
def test_published_names_of_cat_seg(official: str, ours: str) -> None:
    if official.startswith("transformer"):
        official, ours = f"sem_seg_head.predictor.{official}", f"sem_seg_head.aggregator.{ours}"
    assert CAT_SEG.rename(official) == ours


def test_clip_keeps_its_names() -> None:
    name = "visual.transformer.resblocks.3.attn.in_proj_weight"
    assert CAT_SEG.rename(f"sem_seg_head.predictor.clip_model.{name}") == f"clip.{name}"


def four_stage_classifier() -> dict[str, torch.Tensor]:
    """What a classification checkpoint of Swin holds: four stages, a last norm, a head, no output norms."""
    full = D2SwinTransformer(embed_dim=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2], window_size=4)
    state = {name: tensor for name, tensor in full.state_dict().items() if not name.startswith("norm")}
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16)
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 16, 16)
    return state | {name: torch.zeros(3) for name in ("norm.weight", "norm.bias", "head.weight", "head.bias")}


@pytest.mark.parametrize("depths", [[1, 1, 2], [1, 1, 2, 1]])
def test_swin_classifiers_load_into_backbones_of_fewer_stages(depths: list[int]) -> None:
    heads = [1, 1, 2, 2][: len(depths)]
    backbone = D2SwinTransformer(embed_dim=8, depths=depths, num_heads=heads, window_size=4)
    state = backbone.state_dict()
    converted = convert_swin(four_stage_classifier(), {name: tensor.shape for name, tensor in state.items()})
    assert set(state) - set(converted) == {f"norm{i}.{kind}" for i in range(len(depths)) for kind in ("weight", "bias")}


def test_swin_of_another_size_is_refused() -> None:
    backbone = D2SwinTransformer(embed_dim=8, depths=[1, 1, 3], num_heads=[1, 1, 2], window_size=4)
    with pytest.raises(ValueError, match=r"missing: layers.2.blocks.2.norm1.weight"):
        convert_swin(four_stage_classifier(), {name: tensor.shape for name, tensor in backbone.state_dict().items()})
