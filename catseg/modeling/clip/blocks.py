"""Blocks of open_clip's transformers, with an attention that is quick in every precision.

PyTorch's `nn.MultiheadAttention` transposes a batch of several images before it multiplies, and in bfloat16 on a CPU
that ends in a product for each token with a copy of the weights: twenty times slower than one on contiguous tokens.
Shapes: B sequences, N tokens, D width, h heads.
"""

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, Transformer
from torch import Tensor, nn

from catseg.modeling.clip.projections import SEPARATE_WEIGHTS


def is_plain(block: nn.Module) -> bool:
    """Tell whether `run_block` computes what a block does."""
    return isinstance(block, ResidualAttentionBlock) and isinstance(block.attn, nn.MultiheadAttention)


def run_block(block: ResidualAttentionBlock, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute what a block does: attention, then the MLP, each with its residual.

    Args:
        block: with `nn.MultiheadAttention`, see `is_plain`.
        x: tokens `(B, N, D)`.
        mask: what is added to the logits of the attention, `(N, N)`.

    Returns:
        `(B, N, D)`.
    """
    x = x + block.ls_1(_self_attention(block.attn, block.ln_1(x), mask))
    out: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return out


def queries_keys_values(attention: nn.MultiheadAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the queries, keys and values of tokens `(B, N, D)`, each `(B, h, N, D / h)`."""
    weight: Tensor | None = attention.in_proj_weight
    if weight is not None:
        parts = F.linear(x, weight, attention.in_proj_bias).chunk(3, dim=-1)
    else:
        weights = [getattr(attention, name) for name in SEPARATE_WEIGHTS]
        parts = tuple(map(F.linear, (x, x, x), weights, attention.in_proj_bias.chunk(3)))
    q, k, v = (part.unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for part in parts)
    return q, k, v


def _self_attention(attention: nn.MultiheadAttention, x: Tensor, mask: Tensor | None) -> Tensor:
    q, k, v = queries_keys_values(attention, x)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask.to(q.dtype))
    out: Tensor = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return out


def run_transformer(transformer: Transformer, x: Tensor, mask: Tensor | None) -> Tensor:
    """Compute what a transformer of open_clip does with tokens `(B, N, D)`, by `run_block` if its blocks are plain."""
    blocks = list(transformer.resblocks)
    if not all(map(is_plain, blocks)) or (transformer.grad_checkpointing and torch.is_grad_enabled()):
        out: Tensor = transformer(x, attn_mask=mask)
        return out
    for block in blocks:
        x = run_block(block, x, mask)
    return x
