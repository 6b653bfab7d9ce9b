"""The network of CAT-Seg (arXiv 2303.11797), from crops and text features to logits: backbone, CLIP and head.

Version 1 takes its guidance maps from a backbone, version 2 from CLIP's image encoder. Other differences are options of
the parts.
Shapes: B crops, T classes, P prompt templates, C joint embedding width, H x W cost resolution.
"""

from typing import Any, cast

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY, Backbone, build_backbone
from open_clip.model import CLIP
from torch import Tensor, nn

from catseg.config_checks import check_normalisation, check_positive, pair
from catseg.modeling.backbones.pyramid import PyramidBackbone
from catseg.modeling.clip.clip_pyramid import ClipPyramid
from catseg.modeling.clip.image_encoder import DenseImageEncoder
from catseg.modeling.clip.parts import clip_parts_from_config
from catseg.modeling.clip.text_encoder import TextEncoder
from catseg.modeling.execution import chunk_sizes_from_config, compile_blocks, dtype_from_config
from catseg.modeling.image_logits import CropFeatures
from catseg.modeling.layers.chunking import ChunkSizes
from catseg.modeling.layers.images import ImageInput
from catseg.modeling.segmenter import OpenVocabularySegmenter
from catseg.modeling.sliding_window import View
from catseg.modeling.tta import view_from_config

COARSEST_STRIDE = 16  # pixels of the backbone's input per cell of the cost volume


class CATSegNetwork(OpenVocabularySegmenter):
    """The parts of CAT-Seg and how they are joined. `catseg.modeling.meta_arch.CATSeg` adds images and class names."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone | None,
        clip_pyramid: ClipPyramid | None = None,
        clip: CLIP,
        image_encoder: DenseImageEncoder,
        text_encoder: TextEncoder,
        sem_seg_head: nn.Module,
        backbone_input: ImageInput,
        clip_input: ImageInput,
        view: View,
        ignore_label: int = 255,
        loss_weight: float = 1.0,
        chunk_sizes: ChunkSizes = ChunkSizes(),  # noqa: B008 (immutable)
        test_dtype: torch.dtype = torch.float32,
        compiled: bool = False,
    ) -> None:
        """Join the parts.

        Args:
            backbone: computes guidance maps from crops (CAT-Seg v1).
            clip_pyramid: computes them from blocks of the image encoder, where there is no backbone (CAT-Seg v2).
            clip: owns the parameters that `image_encoder` and `text_encoder` use.
            image_encoder: computes dense features on the grid of the cost volume.
            text_encoder: computes text features of class names.
            sem_seg_head: computes logits from features and guidance maps.
            backbone_input: normalises and resizes crops for the backbone, to 16 pixels per cell of the cost volume.
            clip_input: normalises and resizes crops for `image_encoder`.
            view: splits images into crops in inference, and merges their logits.
            ignore_label: label of pixels without a class in training.
            loss_weight: factor on the loss.
            chunk_sizes: how much goes through the network at once.
            test_dtype: computing type of inference; float32 means that of the weights, others go through autocast.
            compiled: apply `torch.compile` to the repeated blocks when they are first called.

        Raises:
            ValueError: unless there is either a backbone or a `ClipPyramid`.
        """
        super().__init__()
        if (backbone is None) == (clip_pyramid is None):
            raise ValueError("guidance maps come from either a backbone or a ClipPyramid: give one of them")
        self.backbone = backbone
        self.clip_pyramid = clip_pyramid
        self.clip = clip
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.sem_seg_head = sem_seg_head
        self.backbone_input = backbone_input
        self.clip_input = clip_input
        self.view = view
        self.ignore_label = ignore_label
        self.loss_weight = loss_weight
        self.chunk_sizes = chunk_sizes
        self.test_dtype = test_dtype
        if compiled:
            compile_blocks(clip.visual, sem_seg_head)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build every part from a config that went through `add_catseg_config`.

        Raises:
            ValueError: if a value cannot be used; the message names its key.
        """
        head = cfg.MODEL.SEM_SEG_HEAD
        rows, columns = pair("MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION", head.FEATURE_RESOLUTION)
        check_normalisation("MODEL", cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
        check_positive({"MODEL.SEM_SEG_HEAD.LOSS_WEIGHT": head.LOSS_WEIGHT})
        parts = clip_parts_from_config(cfg)
        has_backbone = bool(cfg.MODEL.BACKBONE.NAME)
        guide = build_backbone(cfg) if has_backbone else ClipPyramid(cfg)
        if isinstance(guide, PyramidBackbone):
            guide.freeze_as_published()
        if has_backbone and cfg.SOLVER.BACKBONE_MULTIPLIER == 0:
            guide.requires_grad_(False)
        sem_seg_head = SEM_SEG_HEADS_REGISTRY.get(head.NAME)(
            cfg,
            guide.output_shape(),
            text_dim=parts["image_encoder"].output_dim,
            num_templates=len(parts["text_encoder"].templates),
        )
        return {
            **parts,
            "backbone": guide if has_backbone else None,
            "clip_pyramid": None if has_backbone else guide,
            "sem_seg_head": sem_seg_head,
            "backbone_input": ImageInput(
                mean=cfg.MODEL.PIXEL_MEAN,
                std=cfg.MODEL.PIXEL_STD,
                size=(rows * COARSEST_STRIDE, columns * COARSEST_STRIDE),
            ),
            "view": view_from_config(cfg),
            "ignore_label": head.IGNORE_VALUE,
            "loss_weight": head.LOSS_WEIGHT,
            "chunk_sizes": chunk_sizes_from_config(cfg),
            "test_dtype": dtype_from_config(cfg),
            "compiled": cfg.MODEL.COMPILE,
        }

    def head_logits(self, image_features: CropFeatures, text_features: Tensor) -> Tensor:
        """Run the head on what `image_features` returns.

        Args:
            image_features: of B crops.
            text_features: `(T, P, C)`, L2-normalised.

        Returns:
            `(B, T, 4 * H, 4 * W)` for a decoder with two upsamplings.
        """
        dense, maps = image_features
        dense = dense[:, 1:].unflatten(1, self.image_encoder.grid)
        return self.sem_seg_head(dense, maps, text_features, class_maps_per_chunk=self.chunk_sizes.class_maps)

    def dense_features(self, crops: Tensor) -> Tensor:
        """Encode crops `(B, 3, h, w)` by CLIP: class token and patches, `(B, 1 + H * W, C)`."""
        return self.image_encoder(self.clip_input(crops))

    def image_features(self, crops: Tensor) -> CropFeatures:
        """Compute `dense_features` of crops `(B, 3, h, w)`, and their guidance maps by name."""
        if self.backbone is not None:
            return self.dense_features(crops), self.backbone(self.backbone_input(crops))
        pyramid = cast(ClipPyramid, self.clip_pyramid)
        dense, tokens = self.image_encoder.encode(self.clip_input(crops), blocks=pyramid.blocks)
        grid = dense[:, 1:].transpose(1, 2).unflatten(2, self.image_encoder.grid)
        return dense, pyramid(grid, tokens)
