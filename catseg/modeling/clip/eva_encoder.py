"""Dense features of EVA02-CLIP (arXiv 2303.15389), which open_clip builds of timm's parts.

Its blocks differ from a ViT's: queries and keys are rotated by the patch's position, the result of the attention and
the hidden features of the MLP are normalised once more (sub-LN), and the MLP is a SwiGLU. Shapes as in `image_encoder`.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from timm.models.eva import Eva, EvaBlock
from torch import Tensor, nn

from catseg.errors import InputError
from catseg.modeling.clip.image_encoder import DenseImageEncoder


@dataclass(frozen=True)
class EvaImageEncoder(DenseImageEncoder):
    """Reads dense features off EVA02-CLIP: `visual` is open_clip's `TimmModel` of one.

    The value path of the last block keeps the norm between values and output projection, which every token has for
    itself. Rotations belong to queries and keys, so they have no part in it.
    """

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch, in pixels."""
        height, width = self.visual.trunk.patch_embed.patch_size
        return height, width

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks, in order."""
        return list(self.visual.trunk.blocks)

    @property
    def output_dim(self) -> int:
        """Width C of the joint embedding."""
        return int(self.visual.trunk.head.out_features)

    def ordinary_block(self, block: Any, x: Tensor) -> Tensor:
        """A block as it is in the image encoder: `(B, N, D)` to `(B, N, D)`."""
        out: Tensor = block(x, rope=self._rotation.to(x.device))
        return out

    def _check(self) -> None:
        trunk = self.visual.trunk if isinstance(self.visual, TimmModel) else None
        if not isinstance(trunk, Eva) or trunk.rope is None or trunk.num_prefix_tokens != 1:
            raise InputError("CLIP.NAME must be an EVA02-CLIP with rotary positions and a class token")
        if not all(isinstance(block, EvaBlock) and block.attn.v_proj is not None for block in self.blocks):
            raise InputError("CLIP.NAME must be an EVA02-CLIP of size B or L: others have blocks of other kinds")

    @cached_property
    def _rotation(self) -> Tensor:
        """Sines and cosines that rotate the queries and keys of the patches, `(H * W, 2 * width of a head)`."""
        rope = deepcopy(self.visual.trunk.rope)  # timm's has the grid of the training, and may be another's too
        rope.update_feat_shape(list(self.grid))
        rotation: Tensor = rope.get_embed()
        return rotation

    def _prompts(self) -> Sequence[Tensor]:
        return ()

    def _embed(self, images: Tensor) -> Tensor:
        trunk = self.visual.trunk
        patches = trunk.patch_embed.norm(trunk.patch_embed.proj(images).flatten(2).transpose(1, 2))
        class_token = trunk.cls_token.to(patches.dtype).expand(len(patches), -1, -1)
        positions = self.resize_positions(trunk.pos_embed[0], trunk.patch_embed.grid_size, self.grid)
        out: Tensor = trunk.norm_pre(torch.cat((class_token, patches), dim=1) + positions.to(patches.dtype))
        return out

    def _value_path(self, block: Any, x: Tensor) -> Tensor:
        attention = block.attn
        q, k, v = attention.q_proj, attention.k_proj, attention.v_proj
        width = v.out_features
        # Cut out of all three, so that the others get a gradient too, of zero: see `projections.value_projection`.
        weight, bias = torch.cat((q.weight, k.weight, v.weight))[-width:], torch.cat((q.bias, v.bias))[-width:]
        value = attention.proj(attention.norm(F.linear(block.norm1(x), weight, bias)))
        x = (x[:, :1] if self.class_token_residual else x) + _scaled(value, block.gamma_1)
        return x + _scaled(block.mlp(block.norm2(x)), block.gamma_2)

    def _project(self, x: Tensor) -> Tensor:
        trunk = self.visual.trunk
        out: Tensor = self.visual.head(trunk.head(trunk.fc_norm(trunk.norm(x))))
        return out


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else gamma * x
