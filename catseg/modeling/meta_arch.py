"""CAT-Seg as a Detectron2 meta-architecture: backbone, CLIP and aggregation head (arXiv 2303.11797).

Version 1 takes its guidance maps from a backbone, version 2 from CLIP's image encoder. Other differences are options of
the parts.
Shapes: B crops, T classes, P prompt templates, C joint embedding width, H x W cost resolution.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any, cast

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY, Backbone, build_backbone
from open_clip.model import CLIP
from torch import Tensor, nn

from catseg.errors import NotFiniteError, RunError
from catseg.modeling.clip.clip_pyramid import ClipPyramid
from catseg.modeling.clip.image_encoder import DenseImageEncoder
from catseg.modeling.clip.parts import clip_parts_from_config
from catseg.modeling.clip.text_encoder import TextEncoder
from catseg.modeling.execution import chunk_sizes_from_config, compile_blocks, dtype_from_config
from catseg.modeling.layers.chunking import ChunkSizes
from catseg.modeling.layers.finite import all_finite, cause_of_nan
from catseg.modeling.layers.images import ImageInput
from catseg.modeling.layers.running_statistics import FrozenStatistics
from catseg.modeling.losses import class_wise_bce
from catseg.modeling.sliding_window import View, batch_same_size_crops, merge_in_chunks
from catseg.modeling.tta import view_from_config
from catseg.vocabulary import Vocabulary, VocabularySource, load_vocabulary

COARSEST_STRIDE = 16  # pixels of the backbone's input per cell of the cost volume


@META_ARCH_REGISTRY.register()
class CATSeg(FrozenStatistics):
    """Open-vocabulary semantic segmentation by aggregating the cost between dense CLIP features and text.

    The classes are set at run time: `set_vocabulary` for inference, `set_train_vocabulary` for the labels of training.
    """

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
        self._train_classes = Vocabulary()
        self._classes = Vocabulary()
        if compiled:
            compile_blocks(clip.visual, sem_seg_head)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build every part from a config that went through `add_catseg_config`."""
        head = cfg.MODEL.SEM_SEG_HEAD
        parts = clip_parts_from_config(cfg)
        has_backbone = bool(cfg.MODEL.BACKBONE.NAME)
        guide = build_backbone(cfg) if has_backbone else ClipPyramid(cfg)
        if has_backbone:
            _set_backbone_trainable(guide, trained=cfg.SOLVER.BACKBONE_MULTIPLIER > 0)
        sem_seg_head = SEM_SEG_HEADS_REGISTRY.get(head.NAME)(
            cfg,
            guide.output_shape(),
            text_dim=parts["clip"].visual.output_dim,
            num_templates=len(parts["text_encoder"].templates),
        )
        rows, columns = head.FEATURE_RESOLUTION
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

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.clip_input.mean.device

    @property
    def classes(self) -> Vocabulary:
        """The classes of inference, in the order of the output's channels."""
        return self._classes

    def set_vocabulary(self, classes: VocabularySource) -> None:
        """Choose the classes of inference. Only names that were not encoded before are encoded, at the next use.

        Args:
            classes: a `Vocabulary`, or what `catseg.vocabulary.load_vocabulary` makes one of.

        Raises:
            FileNotFoundError, ValueError: as `load_vocabulary`.
        """
        self._classes = load_vocabulary(classes)

    def set_train_vocabulary(self, classes: VocabularySource) -> None:
        """Choose the classes that labels 0, 1, ... stand for in training. Arguments and errors as `set_vocabulary`."""
        self._train_classes = load_vocabulary(classes)

    def forward(self, batched_inputs: Sequence[Mapping[str, Any]]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Compute the loss in training, and class probabilities in inference.

        Args:
            batched_inputs: per image, `image`: RGB, `(3, h, w)`, 0..255, uint8 or float. In training also `sem_seg`:
                int64 `(h, w)` class numbers, all images of one size. In inference optionally `height` and `width`
                of the output, by default the image's own.

        Returns:
            In training `{"loss_sem_seg": scalar}`; else per image `{"sem_seg": (T, height, width)}`, probabilities of
            each class by itself, 0..1.

        Raises:
            RuntimeError: if no vocabulary was set.
            ValueError: if labels and training vocabulary do not fit.
            FloatingPointError: in inference, if the scores of an image are not numbers. The message has the image's
                `file_name`, if there is one.
        """
        if self.training:
            return self._losses(batched_inputs)
        results = []
        for item, logits in zip(batched_inputs, self._crop_logits(batched_inputs), strict=True):
            height, width = _output_size(item)
            sem_seg = torch.empty(len(self._classes), height, width, device=self.device)
            for start, chunk in self._probabilities(item, logits):
                sem_seg[start : start + len(chunk)] = chunk
            results.append({"sem_seg": sem_seg})
        return results

    @torch.no_grad()
    def predict_labels(self, batched_inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Tensor]]:
        """Find the most probable class of each pixel, without a full-size map per class.

        Args:
            batched_inputs: as in `forward`.

        Returns:
            Per image `labels`: int64 `(height, width)`, places in `classes`, and `scores`: `(height, width)`, the
            probability of that class, 0..1.

        Raises:
            RuntimeError, FloatingPointError: as `forward`.
        """
        results = []
        for item, logits in zip(batched_inputs, self._crop_logits(batched_inputs), strict=True):
            scores = torch.full(_output_size(item), -1.0, device=self.device)
            labels = torch.zeros(_output_size(item), dtype=torch.int64, device=self.device)
            for start, chunk in self._probabilities(item, logits):
                for place, probabilities in enumerate(chunk, start):
                    labels.masked_fill_(probabilities > scores, place)
                    torch.maximum(scores, probabilities, out=scores)
            results.append({"labels": labels, "scores": scores})
        return results

    def logits(self, crops: Tensor, text_features: Tensor) -> Tensor:
        """Run the network on crops.

        Args:
            crops: RGB, `(B, 3, h, w)`, 0..255; resized to what backbone and CLIP expect.
            text_features: `(T, P, C)`, L2-normalised.

        Returns:
            `(B, T, 4 * H, 4 * W)` for a decoder with two upsamplings.
        """
        dense, maps = self.image_features(crops)
        dense = dense[:, 1:].unflatten(1, self.image_encoder.grid)
        return self.sem_seg_head(dense, maps, text_features, class_maps_per_chunk=self.chunk_sizes.class_maps)

    def dense_features(self, crops: Tensor) -> Tensor:
        """Encode crops `(B, 3, h, w)` by CLIP: class token and patches, `(B, 1 + H * W, C)`."""
        return self.image_encoder(self.clip_input(crops))

    def image_features(self, crops: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute `dense_features` of crops `(B, 3, h, w)`, and their guidance maps by name."""
        if self.backbone is not None:
            return self.dense_features(crops), self.backbone(self.backbone_input(crops))
        pyramid = cast(ClipPyramid, self.clip_pyramid)
        dense, tokens = self.image_encoder.encode(self.clip_input(crops), blocks=pyramid.blocks)
        grid = dense[:, 1:].transpose(1, 2).unflatten(2, self.image_encoder.grid)
        return dense, pyramid(grid, tokens)

    def text_features(self, vocabulary: Vocabulary) -> Tensor:
        """Encode classes as text features `(T, P, C)`, L2-normalised, on the model's device.

        Raises:
            RuntimeError: if there are none.
        """
        if not vocabulary:
            setter = "set_train_vocabulary" if self.training else "set_vocabulary"
            raise RunError(f"the model has no classes yet: call {setter}(classes) first")
        return self.text_encoder.encode(vocabulary).to(self.device)

    def _losses(self, batched_inputs: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        crops, target = (
            torch.stack([item[key].to(self.device, non_blocking=True) for item in batched_inputs])
            for key in ("image", "sem_seg")
        )
        logits = self.logits(crops.float(), self.text_features(self._train_classes))
        return {"loss_sem_seg": self.loss_weight * class_wise_bce(logits, target, ignore_label=self.ignore_label)}

    def _autocast(self) -> AbstractContextManager[Any]:
        """Autocast to `test_dtype`; for float32, the autocast of the caller stays in force."""
        if self.test_dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.test_dtype)

    @torch.no_grad()
    def _crop_logits(self, batched_inputs: Sequence[Mapping[str, Any]]) -> list[Tensor]:
        """Compute the logits `(N, T, h, w)` of the N crops of each image; crops of several images share batches.

        They take 36 KiB per crop and class at a cost resolution of 24 x 24.
        """
        text = self.text_features(self._classes)
        images = [self.view.split(item["image"].to(self.device, non_blocking=True)) for item in batched_inputs]
        chunks = batch_same_size_crops(chain.from_iterable(images), self.chunk_sizes.crops)
        with self._autocast():
            logits = [self.logits(chunk.float(), text).float() for chunk in chunks]
        return list(torch.cat(logits).split([len(crops) for crops in images])) if logits else []

    @torch.no_grad()
    def _probabilities(self, item: Mapping[str, Any], logits: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield full-size probabilities of some classes at a time: first class, `(classes, height, width)`.

        Raises:
            FloatingPointError: after the last of them, so that a GPU has all of its work before it is waited for, if
                the logits are not numbers.
        """
        finite = all_finite(logits)
        image_size = (item["image"].shape[-2], item["image"].shape[-1])
        output_size = _output_size(item)
        yield from merge_in_chunks(self.view, logits, image_size, output_size, self.chunk_sizes)
        if not finite:
            file = f"{item['file_name']}: " if "file_name" in item else ""
            raise NotFiniteError(f"{file}the scores are not numbers: {cause_of_nan(self, self.test_dtype)}")


def _output_size(item: Mapping[str, Any]) -> tuple[int, int]:
    height, width = item["image"].shape[-2:]
    return int(item.get("height", height)), int(item.get("width", width))


def _set_backbone_trainable(backbone: nn.Module, *, trained: bool) -> None:
    """Freeze the backbone, or leave what it trains but for `norm0`, which the published training never trains."""
    for name, parameter in backbone.named_parameters():
        if not trained or "norm0" in name:
            parameter.requires_grad_(False)
