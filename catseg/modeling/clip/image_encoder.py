"""Dense CLIP features: the image encoder read at every patch instead of at its class token.

A family of image encoders is a subclass of `DenseImageEncoder`, and a line in `catseg.modeling.clip.families`.
Shapes: B images, H x W patches, D the encoder's width, C the joint embedding's width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from catseg.config_checks import check_sizes
from catseg.errors import InputError
from catseg.modeling.clip.blocks import is_plain, run_block
from catseg.modeling.clip.projections import value_projection
from catseg.modeling.layers.pos_embed import resize_position_embedding

# What takes the place of the last block: of the block and its input (B, 1 + N, D), N the patches, it makes its output
# (B, M, D) with tokens of its choice.
LastBlock: TypeAlias = Callable[[Any, Tensor], Tensor]


def add_prompt_tokens(visual: nn.Module, *, depth: int, length: int) -> None:
    """Give the first `depth` blocks of an image encoder `length` learned tokens each (deep prompts, arXiv 2203.12119).

    They become the parameter `transformer.prompt_tokens` of shape `(depth, length, D)`.

    Raises:
        ValueError: if `depth` exceeds the number of blocks, one of them is negative, or only one is 0; or the image
            encoder is no ViT of open_clip.
    """
    check_sizes({"MODEL.CLIP.PROMPT_DEPTH": depth, "MODEL.CLIP.PROMPT_LENGTH": length}, lowest=0)
    if not (depth or length):
        return
    if not isinstance(visual, VisionTransformer):
        raise InputError("CLIP.PROMPT_DEPTH and CLIP.PROMPT_LENGTH must be 0 with a CLIP.NAME that is no plain ViT")
    blocks = len(visual.transformer.resblocks)
    if depth > blocks or (depth == 0) != (length == 0):
        raise InputError(
            f"CLIP.PROMPT_DEPTH {depth} and CLIP.PROMPT_LENGTH {length} must both be 0 or both positive, "
            f"with at most {blocks} blocks"
        )
    tokens = torch.empty(depth, length, visual.transformer.width)
    visual.transformer.prompt_tokens = nn.Parameter(nn.init.xavier_uniform_(tokens))


@dataclass(frozen=True)
class DenseImageEncoder:
    """Reads dense features off an image encoder, which keeps its own parameters: here an open_clip ViT.

    All blocks but the last are the ordinary ViT's. The last block's attention is replaced by its value path,
    `out_proj(value_proj(LN(x)))`, so that every feature stays at its place (MaskCLIP, arXiv 2112.01071).

    Attributes:
        visual: the image encoder of an open_clip model; here a ViT with `nn.MultiheadAttention` blocks.
        grid: rows and columns of patches `(H, W)`; the position embedding is resized to them.
        class_token_residual: in the last block, what the values are added to is the class token for all of them
            (CAT-Seg v2), and not each token itself.
        activation_checkpointing: recompute blocks in the backward pass to save memory.
        resize_positions: resizes the position embedding, with arguments and result of `resize_position_embedding`.
    """

    visual: Any
    grid: tuple[int, int]
    class_token_residual: bool = False
    activation_checkpointing: bool = False
    resize_positions: Callable[[Tensor, tuple[int, int], tuple[int, int]], Tensor] = resize_position_embedding

    def __post_init__(self) -> None:
        if min(self.grid) < 1:
            raise InputError(f"SEM_SEG_HEAD.FEATURE_RESOLUTION must be two positive numbers, got {list(self.grid)}")
        self._check()

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images to encode, in pixels: the grid times the patch size."""
        (rows, columns), (patch_rows, patch_columns) = self.grid, self.patch_size
        return rows * patch_rows, columns * patch_columns

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch, in pixels."""
        height, width = self.visual.patch_size
        return height, width

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks, in order."""
        return list(self.visual.transformer.resblocks)

    @property
    def output_dim(self) -> int:
        """Width C of the joint embedding."""
        return int(self.visual.output_dim)

    def __call__(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: `(B, 3, *input_size)`, normalised with CLIP's mean and standard deviation.

        Returns:
            `(B, 1 + H * W, C)` in the joint embedding, not L2-normalised: the class token, then the patches by row.
        """
        return self.encode(images)[0]

    def encode(
        self, images: Tensor, blocks: Sequence[int] = (), *, last_block: LastBlock | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Encode images, and keep what some blocks give on the way.

        Args:
            images: `(B, 3, *input_size)`, normalised with CLIP's mean and standard deviation.
            blocks: numbers of blocks, counted from 0; not the last one.
            last_block: takes the place of the last block; by default its value path does.

        Returns:
            The features `(B, 1 + H * W, C)`, as calling gives them, or `(B, M, C)` of the M tokens of `last_block`; and
            the patches `(B, D, H, W)` after each of `blocks`.
        """
        x = self._embed(images)
        prompts = self._prompts()
        prompt_length = 0
        *ordinary, last = self.blocks
        calls = [
            *(partial(self.ordinary_block, block) for block in ordinary),
            partial(last_block or self._value_path, last),
        ]
        kept: dict[int, Tensor] = {}
        for i, block in enumerate(calls):
            if i < len(prompts):
                x = _with_prompts(x, prompts[i], replaced=prompt_length)
                prompt_length = len(prompts[i])
            x = self._run(block, x)
            if i in blocks:
                kept[i] = x[:, 1 + prompt_length :].transpose(1, 2).unflatten(2, self.grid)
        x = self._project(torch.cat((x[:, :1], x[:, 1 + prompt_length :]), dim=1))
        return x, [kept[i] for i in blocks]

    def ordinary_block(self, block: Any, x: Tensor) -> Tensor:
        """A block as it is in the image encoder: `(B, N, D)` to `(B, N, D)`."""
        return run_block(block, x)

    def _check(self) -> None:
        """Refuse an image encoder that is not of this family."""
        visual = self.visual
        plain = isinstance(visual, VisionTransformer) and visual.attn_pool is None
        if not plain or not all(is_plain(block) for block in self.blocks):
            raise InputError("CLIP.NAME must be a plain ViT: attention pooling and custom blocks have no value path")

    def _prompts(self) -> Sequence[Tensor]:
        """The prompt tokens of the first blocks, `(length, D)` each; none, where there are none."""
        return list(getattr(self.visual.transformer, "prompt_tokens", ()))

    def _value_path(self, block: Any, x: Tensor) -> Tensor:
        """A block whose attention looks at nothing but the token itself."""
        value = block.attn.out_proj(F.linear(block.ln_1(x), *value_projection(block.attn)))
        x = (x[:, :1] if self.class_token_residual else x) + block.ls_1(value)
        out: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
        return out

    def _project(self, x: Tensor) -> Tensor:
        """Tokens `(B, N, D)` after the last block to the joint embedding, `(B, N, C)`."""
        x = self.visual.ln_post(x)
        return x if self.visual.proj is None else x @ self.visual.proj

    def _embed(self, images: Tensor) -> Tensor:
        """Patches with class token and positions, normalised: `(B, 1 + H * W, D)`."""
        visual = self.visual
        patches = visual.conv1(images).flatten(2).transpose(1, 2)
        class_token = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        positions = self.resize_positions(visual.positional_embedding, visual.grid_size, self.grid)
        out: Tensor = visual.ln_pre(torch.cat((class_token, patches), dim=1) + positions.to(patches.dtype))
        return out

    def _run(self, block: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.activation_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, x, use_reentrant=False)
        return block(x)


def _with_prompts(x: Tensor, prompts: Tensor, *, replaced: int) -> Tensor:
    """Put prompts `(P, D)` behind the class token of `(B, N, D)`, in place of the `replaced` tokens there."""
    return torch.cat((x[:, :1], prompts.to(x.dtype).expand(len(x), -1, -1), x[:, 1 + replaced :]), dim=1)
