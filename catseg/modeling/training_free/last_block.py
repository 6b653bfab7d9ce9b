"""CLIP's last block, changed as published methods change it.

Shapes: B images, N tokens, D the encoder's width, h heads, H x W patches, P x Q cells of the proxy.
"""

from dataclasses import dataclass

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from catseg.config_checks import check_at_least, check_positive
from catseg.errors import InputError
from catseg.modeling.clip.blocks import queries_keys_values
from catseg.modeling.layers.images import resize
from catseg.modeling.training_free.attention import ATTENTIONS, gaussian_prior, proxy_attention

MASKCLIP, PROXYCLIP = "maskclip", "proxyclip"
METHODS = (MASKCLIP, *ATTENTIONS, PROXYCLIP)


@dataclass(frozen=True)
class TrainingFreeBlock:
    """Makes the output of the last block, in a published way.

    Attributes:
        method: one of `METHODS`. `maskclip` gives each token its own value (arXiv 2112.01071), `proxyclip` mixes the
            patches' values by another network's features, and the others by `ATTENTIONS`.
        residual: add the block's input, as the ordinary block does; not with `proxyclip`, whose tokens are others.
        mlp: let the block's MLP follow, with its residual.
        gaussian_std: standard deviation of NACLIP's prior, in patches.
        beta: of ProxyCLIP, see `proxy_attention`.
        gamma: of ProxyCLIP.
    """

    method: str
    residual: bool = False
    mlp: bool = False
    gaussian_std: float = 5.0
    beta: float = 1.2
    gamma: float = 3.0

    def __post_init__(self) -> None:
        section = "MODEL.TRAINING_FREE."
        if self.method not in METHODS:
            raise InputError(f"{section}METHOD is {self.method!r}, expected one of {', '.join(METHODS)}")
        check_positive({f"{section}GAUSSIAN_STD": self.gaussian_std, f"{section}GAMMA": self.gamma})
        check_at_least(0, {f"{section}BETA": self.beta})
        if self.method == PROXYCLIP and (self.residual or self.mlp):
            raise InputError(
                f"{section}RESIDUAL and MLP must be False with METHOD {PROXYCLIP}, whose tokens are the proxy's cells"
            )

    def __call__(
        self, block: ResidualAttentionBlock, x: Tensor, *, grid: tuple[int, int], proxy: Tensor | None = None
    ) -> Tensor:
        """Compute the output of the block.

        Args:
            block: the last block, whose parameters are used.
            x: its input `(B, 1 + H * W, D)`, the class token first.
            grid: rows and columns of patches, H x W.
            proxy: for `proxyclip`, features of another network `(B, C, P, Q)`.

        Returns:
            `(B, 1 + H * W, D)`; with `proxyclip`, `(B, P * Q, D)`.
        """
        attention: nn.MultiheadAttention = block.attn
        q, k, v = queries_keys_values(attention, block.ln_1(x))
        if self.method == PROXYCLIP:
            if proxy is None:
                raise ValueError(f"{PROXYCLIP} needs features of a proxy")
            weights = proxy_attention(proxy, beta=self.beta, gamma=self.gamma).to(v.dtype)
            mixed = weights[:, None] @ _at_cells(v[:, :, 1:], grid, (proxy.shape[2], proxy.shape[3]))
        elif self.method == MASKCLIP:
            mixed = v
        else:
            prior = gaussian_prior(grid, self.gaussian_std, like=q)
            mixed = ATTENTIONS[self.method](q, k, prior).to(v.dtype) @ v
        out = attention.out_proj(mixed.transpose(1, 2).flatten(2))
        if self.residual:
            out = x + block.ls_1(out)
        return out + block.ls_2(block.mlp(block.ln_2(out))) if self.mlp else out


def _at_cells(values: Tensor, grid: tuple[int, int], cells: tuple[int, int]) -> Tensor:
    """Resize values of patches `(B, h, H * W, d)` bilinearly to those of cells, `(B, h, P * Q, d)`."""
    heads = values.shape[1]
    maps = values.flatten(0, 1).transpose(1, 2).unflatten(2, grid)
    resized: Tensor = resize(maps, cells).flatten(2).transpose(1, 2)
    return torch.unflatten(resized, 0, (-1, heads))
