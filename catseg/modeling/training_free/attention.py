"""What published methods put in place of the attention of CLIP's last block: the weights that mix the values of tokens.

Shapes: B images, h heads, N tokens of width d per head, H x W patches.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# Of queries and keys (B, h, N, d) and the logits of the prior (N, N), which most leave aside, weights (B, h, N, N).
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def query_key(q: Tensor, k: Tensor, _prior: Tensor) -> Tensor:
    """CLIP's own attention: softmax(q k^T)."""
    return _products(q, k).softmax(dim=-1)


def query_query_and_key_key(q: Tensor, k: Tensor, _prior: Tensor) -> Tensor:
    """SCLIP's attention: softmax(q q^T) + softmax(k k^T), of which a row adds up to 2 (arXiv 2312.01597)."""
    return _products(q, q).softmax(dim=-1) + _products(k, k).softmax(dim=-1)


def query_query(q: Tensor, _k: Tensor, _prior: Tensor) -> Tensor:
    """ClearCLIP's attention: softmax(q q^T) (arXiv 2407.12442)."""
    return _products(q, q).softmax(dim=-1)


def key_key(_q: Tensor, k: Tensor, _prior: Tensor) -> Tensor:
    """NACLIP's attention without its prior: softmax(k k^T) (arXiv 2404.08181, ablation)."""
    return _products(k, k).softmax(dim=-1)


def key_key_nearby(_q: Tensor, k: Tensor, prior: Tensor) -> Tensor:
    """NACLIP's attention: softmax(k k^T + prior) (arXiv 2404.08181)."""
    return (_products(k, k) + prior).softmax(dim=-1)


def nearby(q: Tensor, k: Tensor, prior: Tensor) -> Tensor:
    """NACLIP's prior alone, as large as products of queries and keys can be (arXiv 2404.08181, ablation).

    The factor is the mean over the heads, queries and keys of an image of the product of a query's length and a key's.
    """
    lengths = q.norm(dim=-1).mean(dim=2) * k.norm(dim=-1).mean(dim=2)
    factor = _scale(q) * lengths.mean(dim=1)
    weights = (prior * factor[:, None, None]).softmax(dim=-1)
    return weights[:, None].expand(-1, q.shape[1], -1, -1)


ATTENTIONS: dict[str, Attention] = {
    "vanilla": query_key,
    "sclip": query_query_and_key_key,
    "clearclip": query_query,
    "kk": key_key,
    "naclip": key_key_nearby,
    "nonly": nearby,
}


def gaussian_prior(grid: tuple[int, int], std: float, *, like: Tensor) -> Tensor:
    """NACLIP's prior: a Gaussian of the distance between two patches, 1 where they are the same (arXiv 2404.08181).

    Args:
        grid: rows and columns of patches, H x W.
        std: its standard deviation, in patches.
        like: has the device and type of the result.

    Returns:
        `(1 + H * W, 1 + H * W)`; the class token, which comes first, has zeros.
    """
    rows, columns = (torch.arange(side, device=like.device, dtype=torch.float32) for side in grid)
    places = torch.cartesian_prod(rows, columns)
    squares = (places[:, None] - places).square().sum(dim=-1)
    return F.pad(torch.exp(-squares / (2 * std**2)), (1, 0, 1, 0)).to(like.dtype)


def proxy_attention(features: Tensor, *, beta: float, gamma: float) -> Tensor:
    """ProxyCLIP's attention: softmax of the similarity of another network's features (arXiv 2408.04883, section 3.3).

    Each image's similarities are compared with their own mean, whatever else is in the batch. What is left out where
    all of a place's similarities would be, as in an image of one colour, is everything but the place itself.

    Args:
        features: of the other network, `(B, C, H, W)`.
        beta: similarities below `beta` times their mean are left out.
        gamma: factor on the others.

    Returns:
        Weights `(B, H * W, H * W)`.
    """
    directions = F.normalize(features.flatten(2), dim=1)
    similarity = directions.transpose(1, 2) @ directions
    logits = (similarity - beta * similarity.mean(dim=(1, 2), keepdim=True)) * gamma
    itself = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    return logits.masked_fill((logits < 0) & ~itself, -torch.inf).softmax(dim=-1)


def _products(a: Tensor, b: Tensor) -> Tensor:
    return (a * _scale(a)) @ b.transpose(-2, -1)


def _scale(x: Tensor) -> float:
    return float(x.shape[-1] ** -0.5)
