"""Query, key and value weights of CLIP's attention layers: open_clip has them in one matrix, CAT-Seg v2 apart."""

import torch
from torch import Tensor, nn

SEPARATE_WEIGHTS = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


def separate_projections(module: nn.Module) -> None:
    """Give all attention layers below `module` weights of their own for queries, keys and values, of the same values.

    In place of `in_proj_weight` they have `q_proj_weight`, `k_proj_weight` and `v_proj_weight`, as PyTorch's attention
    has where keys are of another width than queries; `in_proj_bias` stays as it is. Layers that are so already stay so.
    """
    for attention in module.modules():
        if isinstance(attention, nn.MultiheadAttention) and attention._qkv_same_embed_dim:
            weights = attention.in_proj_weight.detach().chunk(3)
            for name, weight in zip(SEPARATE_WEIGHTS, weights, strict=True):
                setattr(attention, name, nn.Parameter(weight.clone()))
            attention.register_parameter("in_proj_weight", None)
            attention._qkv_same_embed_dim = False  # what PyTorch's forward chooses between the two by


def input_projection(attention: nn.MultiheadAttention) -> tuple[Tensor, Tensor]:
    """The weight `(3 * D, D)` and bias `(3 * D,)` that make an attention layer's queries, keys and values."""
    weight: Tensor | None = attention.in_proj_weight
    if weight is None:
        weight = torch.cat([getattr(attention, name) for name in SEPARATE_WEIGHTS])
    return weight, attention.in_proj_bias


def value_projection(attention: nn.MultiheadAttention) -> tuple[Tensor, Tensor]:
    """The weight `(D, D)` and bias `(D,)` that make an attention layer's values.

    The weight is cut out of all three, so that separate query and key weights get a gradient too: zero, as they would
    in one matrix. Training on several GPUs needs one for every parameter.
    """
    weight, bias = input_projection(attention)
    width = attention.embed_dim
    return weight[-width:], bias[-width:]
