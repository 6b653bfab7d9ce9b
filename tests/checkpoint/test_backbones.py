import pytest
import torch

from catseg.checkpoint.backbones import convert_swin
from catseg.modeling.backbones import D2SwinTransformer


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
