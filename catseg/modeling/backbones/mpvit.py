"""Multi-Path Vision Transformer (arXiv 2112.11010), written from the paper.

Each stage embeds its input several times over, with growing receptive fields, sends every embedding through its own
transformer path, and merges the paths with a convolutional branch. Attention is CoaT's (arXiv 2104.06399): linear in
the number of tokens, with convolutional relative positions.

Maps keep their channels last in memory, so that one tensor serves convolutions, as (B, C, H, W), and linear layers, as
(B, H, W, C), without a copy.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from detectron2.config import configurable
from detectron2.modeling import BACKBONE_REGISTRY
from timm.layers import DropPath, Mlp, calculate_drop_path_rates
from torch import Tensor, nn

from catseg.errors import InputError
from catseg.modeling.backbones.pyramid import SizedBackbone
from catseg.modeling.layers.convolutions import depthwise_conv
from catseg.modeling.layers.initialisation import init_conv, init_linear

HEADS_PER_KERNEL = {3: 2, 5: 3, 7: 3}  # side of the kernel of the relative positions -> how many heads have it
NUM_HEADS = sum(HEADS_PER_KERNEL.values())
LAYER_NORM_EPSILON = 1e-6

Run = Callable[..., Tensor]  # calls its first argument with the others


def _conv_norm(in_channels: int, channels: int, *, kernel: int = 1, stride: int = 1, act: bool = True) -> nn.Sequential:
    """Convolution and batch norm, with Hardswish after them if `act`; sides that `stride` does not divide round up."""
    conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, bn=nn.BatchNorm2d(channels))
    return nn.Sequential(layers | ({"act": nn.Hardswish()} if act else {}))


def _path_embedding(dim: int, stride: int) -> nn.Sequential:
    """Depthwise separable 3 x 3 convolution that makes the tokens of a path."""
    return nn.Sequential(
        OrderedDict(
            dwconv=depthwise_conv(dim, 3, stride=stride, bias=False),
            pwconv=nn.Conv2d(dim, dim, 1, bias=False),
            bn=nn.BatchNorm2d(dim),
            act=nn.Hardswish(),
        )
    )


class RelativePosition(nn.ModuleList):
    """Convolutional relative position encoding: depthwise convolutions of the values, larger for later heads."""

    def __init__(self, dim: int) -> None:
        head_dim = dim // NUM_HEADS
        super().__init__(depthwise_conv(head_dim * heads, kernel) for kernel, heads in HEADS_PER_KERNEL.items())

    def forward(self, value: Tensor) -> Tensor:
        """Map values `(B, H, W, C)`, head after head, to the same shape."""
        convs = list(cast(Iterable[nn.Conv2d], self))
        parts = value.permute(0, 3, 1, 2).split([conv.out_channels for conv in convs], dim=1)
        encoded = torch.cat([conv(part) for conv, part in zip(convs, parts, strict=True)], dim=1)
        return encoded.permute(0, 2, 3, 1)


class FactorizedAttention(nn.Module):
    """CoaT's attention, `q (softmax(k)^T v) / sqrt(head dim)` with the softmax over tokens, plus `q * positions(v)`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = (dim // NUM_HEADS) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, relative: RelativePosition) -> Tensor:
        """Map `(B, H, W, C)` to the same shape; `relative` is shared by all layers of a path."""
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (part.flatten(1, 2).unflatten(-1, (NUM_HEADS, -1)).transpose(1, 2) for part in (query, key, value))
        context = k.softmax(dim=2).transpose(2, 3) @ v  # (B, heads, C / heads, C / heads)
        attended = (q @ (self.scale * context)).transpose(1, 2).reshape(x.shape)
        return self.proj(torch.addcmul(attended, query, relative(value)))


class MPViTLayer(nn.Module):
    """Position encoding, attention and MLP, each added to its input; the positions come from the path."""

    def __init__(self, *, dim: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.attn = FactorizedAttention(dim)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.mlp = Mlp(dim, dim * mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, position: nn.Conv2d, relative: RelativePosition) -> Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        x = (x + position(x)).permute(0, 2, 3, 1)
        x = x + self.drop_path(self.attn(self.norm1(x), relative))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x.permute(0, 3, 1, 2)


class MPViTPath(nn.Module):
    """An embedding, and the layers that its tokens go through, which share their two kinds of position encoding."""

    def __init__(self, *, dim: int, stride: int, layers: Iterable[MPViTLayer]) -> None:
        super().__init__()
        self.embedding = _path_embedding(dim, stride)
        self.position = depthwise_conv(dim, 3)
        self.relative = RelativePosition(dim)
        self.layers = nn.ModuleList(layers)


class MPViTStage(nn.Module):
    """Paths, each embedding the embedding of the one before, beside a convolutional branch; then all are merged."""

    def __init__(self, *, dim: int, out_dim: int, paths: Iterable[MPViTPath]) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)
        self.local = nn.Sequential(
            OrderedDict(
                conv1=_conv_norm(dim, dim),
                dwconv=depthwise_conv(dim, 3, bias=False),
                norm=nn.BatchNorm2d(dim),
                act=nn.Hardswish(),
                conv2=_conv_norm(dim, dim, act=False),
            )
        )
        self.aggregate = _conv_norm(dim * (len(self.paths) + 1), out_dim)

    def forward(self, x: Tensor, run: Run) -> Tensor:
        """Map `(B, dim, H, W)` to `(B, out_dim, ceil(H / stride), ceil(W / stride))`; `run` calls the layers."""
        branches: list[Tensor] = []
        for path in cast(Iterable[MPViTPath], self.paths):
            x = path.embedding(x)
            if not branches:
                branches.append(x + self.local(x))
            tokens = x
            for layer in path.layers:
                tokens = run(layer, tokens, path.position, path.relative)
            branches.append(tokens)
        return self.aggregate(torch.cat(branches, dim=1))


@BACKBONE_REGISTRY.register()
class MPViT(SizedBackbone):
    """MPViT as a Detectron2 backbone: maps `res2` to `res5` at strides 4, 8, 16 and 32, after the paths are merged.

    Merging gives a stage the width of the next one. Stages beyond the last map that is asked for are not built.
    """

    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"embed_dims": (64, 96, 176, 216), "depths": (1, 2, 4, 1), "mlp_ratios": (2, 2, 2, 2)},
        "xsmall": {"embed_dims": (64, 128, 192, 256), "depths": (1, 2, 4, 1)},
        "small": {"embed_dims": (64, 128, 216, 288), "depths": (1, 3, 6, 3)},
        "base": {"embed_dims": (128, 224, 368, 480), "depths": (1, 3, 8, 3)},
    }

    @configurable
    def __init__(
        self,
        *,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        num_paths: Sequence[int] = (2, 3, 3, 3),
        mlp_ratios: Sequence[int] = (4, 4, 4, 4),
        drop_path_rate: float = 0.0,
        out_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
        freeze_at: int = 0,
        activation_checkpointing: bool = False,
    ) -> None:
        """Build the network with random weights.

        Args:
            embed_dims: width of each stage's paths, a multiple of 8, the number of attention heads.
            depths: layers of each stage's paths.
            num_paths: paths of each stage.
            mlp_ratios: hidden width of each stage's MLPs over the stage's width.
            drop_path_rate: stochastic depth of the last layer of all stages; it rises linearly from 0.
            out_features: which of `res2`, `res3`, ... to return.
            freeze_at: how many parts not to train, counting the stem as the first.
            activation_checkpointing: recompute layers in the backward pass to save memory.

        Raises:
            ValueError: if a width is no multiple of 8 or `out_features` names no stage.
        """
        if any(dim % NUM_HEADS for dim in embed_dims):
            raise InputError(f"embed_dims must be multiples of {NUM_HEADS}, the number of heads, got {embed_dims}")
        out_dims = [*embed_dims[1:], embed_dims[-1]]
        super().__init__(
            channels=out_dims,
            strides=[4 * 2**i for i in range(len(embed_dims))],
            out_features=out_features,
            activation_checkpointing=activation_checkpointing,
        )
        width = embed_dims[0]
        self.stem = nn.Sequential(
            _conv_norm(3, width // 2, kernel=3, stride=2), _conv_norm(width // 2, width, kernel=3, stride=2)
        )
        rates = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        self.stages = nn.ModuleList()
        for i, dim in enumerate(embed_dims[: self.num_stages]):
            paths = [
                MPViTPath(
                    dim=dim,
                    stride=2 if i and not j else 1,
                    layers=[MPViTLayer(dim=dim, mlp_ratio=mlp_ratios[i], drop_path=rate) for rate in rates[i]],
                )
                for j in range(num_paths[i])
            ]
            self.stages.append(MPViTStage(dim=dim, out_dim=out_dims[i], paths=paths))
        self.apply(init_linear).apply(init_conv)
        self.freeze(freeze_at)

    def stage_modules(self) -> list[list[nn.Module | nn.Parameter]]:
        """The stem, then each stage."""
        stages: list[list[nn.Module | nn.Parameter]] = [[stage] for stage in self.stages]
        return [[self.stem], *stages]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the maps.

        Args:
            images: `(B, 3, H, W)`, normalised, of any size.

        Returns:
            `{"res2": (B, C, ceil(H / 4), ceil(W / 4)), ...}` for `out_features`; sides are halved, rounding up, from
            stage to stage.
        """
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        maps: dict[str, Tensor] = {}
        for i, stage in enumerate(self.stages):
            x = stage(x, self.run)
            if f"res{i + 2}" in self._out_features:
                maps[f"res{i + 2}"] = x
        return maps
