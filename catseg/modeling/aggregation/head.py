"""The CAT-Seg head as Detectron2 knows it."""

import math
from collections.abc import Mapping, Sequence

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from catseg.config_checks import check_sizes
from catseg.errors import InputError
from catseg.modeling.aggregation.aggregator import AggregationLayer, Aggregator
from catseg.modeling.aggregation.class_aggregation import ClassAggregation
from catseg.modeling.aggregation.cost_volume import CostEmbedding
from catseg.modeling.aggregation.guidance import Guidance
from catseg.modeling.aggregation.spatial_aggregation import SpatialAggregation
from catseg.modeling.aggregation.upsampling_decoder import UpsamplingDecoder
from catseg.modeling.layers.images import resize

SIZES = (
    "NUM_LAYERS",
    "NUM_HEADS",
    "HIDDEN_DIMS",
    "WINDOW_SIZES",
    "TEXT_GUIDANCE_PROJ_DIM",
    "APPEARANCE_GUIDANCE_PROJ_DIM",
    "DECODER_DIMS",
    "DECODER_GUIDANCE_PROJ_DIMS",
)


@SEM_SEG_HEADS_REGISTRY.register()
class CATSegHead(nn.Module):
    """Aggregates the cost between dense CLIP features and text features into one logit per cell and class."""

    @configurable
    def __init__(
        self,
        *,
        input_shape: Mapping[str, ShapeSpec],
        text_dim: int,
        num_templates: int,
        in_features: Sequence[str],
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        window_size: int,
        attention_type: str,
        pooling: Sequence[int],
        pooling_test: Sequence[int],
        text_guidance_dim: int,
        appearance_guidance_dim: int,
        decoder_dims: Sequence[int],
        decoder_guidance_dims: Sequence[int],
        class_tokens: int = 0,
        max_classes_test: int = 0,
        prior_prob: float = 0.0,
        activation_checkpointing: bool = False,
    ) -> None:
        """Build the head.

        Args:
            input_shape: the backbone's maps; guidance widths and strides come from here.
            text_dim: width C of the joint embedding.
            num_templates: prompt templates P.
            in_features: maps to use, finest first: one for each entry of `decoder_dims`, reversed, and the coarsest.
            hidden_dim: width D of the embedded cost.
            num_layers: rounds of spatial and class aggregation.
            num_heads: attention heads of both.
            window_size: side of the spatial aggregation's windows, in cells.
            attention_type: of the class aggregation, `linear` or `full`.
            pooling: rows and columns, in cells, of the average pooling before each class aggregation, in training.
            pooling_test: the same in inference.
            text_guidance_dim: width of the projected text guidance.
            appearance_guidance_dim: width of the projected appearance guidance.
            decoder_dims: widths after each upsampling.
            decoder_guidance_dims: widths of the projected decoder guidance.
            class_tokens: tokens that the class aggregation sees: fewer classes are padded, and of more a crop's best
                are taken (CAT-Seg v2); 0 for the classes as they are.
            max_classes_test: classes of a crop that are aggregated in inference, those with the highest cosine; 0 for
                all of them.
            prior_prob: share of cells a class is expected to cover at the start; 0 leaves the last bias random.
            activation_checkpointing: recompute activations in the backward pass.

        Raises:
            ValueError: if lists do not fit each other or the backbone, naming the config key.
        """
        super().__init__()
        for key, kernel in (("POOLING_SIZES", pooling), ("POOLING_SIZES_TEST", pooling_test)):
            if len(kernel) != 2 or min(kernel) < 1:
                raise InputError(f"{key} are rows and columns of a kernel, the same in every layer, got {list(kernel)}")
        if num_heads < 1 or hidden_dim % num_heads:
            raise InputError(f"HIDDEN_DIMS must be a multiple of NUM_HEADS, got {hidden_dim} and {num_heads}")
        if class_tokens < 0 or max_classes_test < 0:
            raise InputError(
                f"CLASS_TOKENS and TEST.MAX_CLASSES must be 0 (all) or positive, got {class_tokens}, {max_classes_test}"
            )
        if not 0 <= prior_prob < 1:
            raise InputError(f"PRIOR_PROB must be 0 (none) or between 0 and 1, got {prior_prob}")
        missing = [name for name in in_features if name not in input_shape]
        if missing:
            raise InputError(f"IN_FEATURES asks for {missing}; the backbone gives {list(input_shape)}")
        strides = [input_shape[name].stride or 0 for name in in_features]
        if not strides or len(set(in_features)) < len(strides) or strides != sorted(strides):
            raise InputError(
                "IN_FEATURES must name maps of the backbone, each once and the finest first, got "
                f"{list(in_features)} of strides {strides}; it gives {list(input_shape)}"
            )
        self.in_features = tuple(in_features)
        self.upsampling = 2 ** len(decoder_dims)
        self.aggregator = Aggregator(
            cost_embedding=CostEmbedding(num_templates=num_templates, hidden_dim=hidden_dim),
            guidance=Guidance(
                map_dims=[input_shape[name].channels for name in in_features],
                text_dim=text_dim,
                appearance_dim=appearance_guidance_dim,
                text_guidance_dim=text_guidance_dim,
                decoder_dims=decoder_guidance_dims,
            ),
            layers=[
                AggregationLayer(
                    spatial=SpatialAggregation(
                        dim=hidden_dim, guidance_dim=appearance_guidance_dim, heads=num_heads, window=window_size
                    ),
                    class_=ClassAggregation(
                        dim=hidden_dim,
                        guidance_dim=text_guidance_dim,
                        heads=num_heads,
                        attention_type=attention_type,
                        pooling=pooling,
                        pooling_test=pooling_test,
                        class_tokens=class_tokens,
                    ),
                )
                for _ in range(num_layers)
            ],
            decoder=UpsamplingDecoder(in_dim=hidden_dim, dims=decoder_dims, guidance_dims=decoder_guidance_dims),
            max_classes=class_tokens,
            max_classes_test=max_classes_test,
            activation_checkpointing=activation_checkpointing,
        )
        bias = self.aggregator.decoder.head.bias
        if prior_prob and bias is not None:
            nn.init.constant_(bias, math.log(prior_prob / (1 - prior_prob)))

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec], text_dim: int, num_templates: int
    ) -> dict[str, object]:
        """Read `MODEL.SEM_SEG_HEAD`, `MODEL.ACTIVATION_CHECKPOINTING` and `TEST.MAX_CLASSES`.

        Raises:
            ValueError: if a number is too low or too high, or windows or pooling do not fit the cost volume.
        """
        head = cfg.MODEL.SEM_SEG_HEAD
        check_sizes({f"MODEL.SEM_SEG_HEAD.{key}": head[key] for key in SIZES})
        _check_grid(head)
        return {
            "input_shape": input_shape,
            "text_dim": text_dim,
            "num_templates": num_templates,
            "in_features": head.IN_FEATURES,
            "hidden_dim": head.HIDDEN_DIMS,
            "num_layers": head.NUM_LAYERS,
            "num_heads": head.NUM_HEADS,
            "window_size": head.WINDOW_SIZES,
            "attention_type": head.ATTENTION_TYPE,
            "pooling": head.POOLING_SIZES,
            "pooling_test": head.POOLING_SIZES_TEST,
            "text_guidance_dim": head.TEXT_GUIDANCE_PROJ_DIM,
            "appearance_guidance_dim": head.APPEARANCE_GUIDANCE_PROJ_DIM,
            "decoder_dims": head.DECODER_DIMS,
            "decoder_guidance_dims": head.DECODER_GUIDANCE_PROJ_DIMS,
            "class_tokens": head.CLASS_TOKENS,
            "max_classes_test": cfg.TEST.MAX_CLASSES,
            "prior_prob": head.PRIOR_PROB,
            "activation_checkpointing": cfg.MODEL.ACTIVATION_CHECKPOINTING,
        }

    def forward(
        self, image_features: Tensor, maps: Mapping[str, Tensor], text_features: Tensor, *, class_maps_per_chunk: int
    ) -> Tensor:
        """Compute logits.

        Args:
            image_features: dense CLIP features `(B, H, W, C)`.
            maps: backbone maps by name, `(B, channels, h, w)`. A map that is not at its place in the pyramid over
                `H x W` (the coarsest at `H x W`, each finer one at twice the sides of the one before) is resized
                bilinearly.
            text_features: `(T, P, C)`, L2-normalised.
            class_maps_per_chunk: class maps to work on at once, see `ChunkSizes`.

        Returns:
            `(B, T, 4 * H, 4 * W)` for two upsamplings.
        """
        height, width = image_features.shape[1:3]
        scales = [self.upsampling // 2**i for i in range(len(self.in_features))]
        pyramid = [
            resize(maps[name], (height * scale, width * scale))
            for name, scale in zip(self.in_features, scales, strict=True)
        ]
        return self.aggregator(image_features, pyramid, text_features, class_maps_per_chunk=class_maps_per_chunk)


def _check_grid(head: CfgNode) -> None:
    """Check that windows and pooling fit the cost volume, which shows only with the first image otherwise."""
    grid = head.FEATURE_RESOLUTION
    window = min(head.WINDOW_SIZES, *grid)
    if window > 0 and any(side % window for side in grid):
        raise InputError(f"WINDOW_SIZES {head.WINDOW_SIZES} does not tile FEATURE_RESOLUTION {list(grid)}")
    for key in ("POOLING_SIZES", "POOLING_SIZES_TEST"):
        if any(size > side for size, side in zip(head[key], grid, strict=False)):
            raise InputError(f"{key} {list(head[key])} is larger than FEATURE_RESOLUTION {list(grid)}")
