"""CAT-Seg as a Detectron2 meta-architecture: images and class names in, a loss or label maps out.

Shapes: T classes, P prompt templates, C joint embedding width, N crops of an image.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import torch
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from catseg.errors import NotFiniteError, RunError
from catseg.modeling.image_logits import ImageFeatures, ImageLogits
from catseg.modeling.layers.finite import all_finite, cause_of_nan
from catseg.modeling.losses import class_wise_bce
from catseg.modeling.network import CATSegNetwork
from catseg.modeling.sliding_window import batch_same_size_crops
from catseg.vocabulary import Vocabulary, VocabularySource, load_vocabulary

Merged = TypeVar("Merged")


@META_ARCH_REGISTRY.register()
class CATSeg(CATSegNetwork):
    """Open-vocabulary semantic segmentation by aggregating the cost between dense CLIP features and text.

    The classes are set at run time: `set_vocabulary` for inference, `set_train_vocabulary` for the labels of training.
    """

    _classes = Vocabulary()
    _train_classes = Vocabulary()

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

    def set_templates(self, templates: Sequence[str]) -> None:
        """Choose the prompt templates. Where their number is not the head's, they are averaged.

        Raises:
            ValueError: if a template lacks its `{}`.
        """
        if tuple(templates) != self.text_encoder.templates:
            self.text_encoder = self.text_encoder.with_templates(templates)

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
        return [{"sem_seg": self._checked(found, found.probabilities)} for found in self.image_logits(batched_inputs)]

    def predict_labels(self, batched_inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Tensor]]:
        """Find the most probable class of each pixel, without a full-size map per class.

        Args:
            batched_inputs: as in `forward`.

        Returns:
            Per image what `label_image` returns.

        Raises:
            RuntimeError, FloatingPointError: as `forward`.
        """
        return [self.label_image(found) for found in self.image_logits(batched_inputs)]

    def label_image(self, found: ImageLogits) -> dict[str, Tensor]:
        """Find the most probable class of each pixel of an image.

        Args:
            found: of `image_logits` or `classify`.

        Returns:
            `labels`: int64 `(height, width)`, places in `classes`, and `scores`: `(height, width)`, the probability of
            that class, 0..1.

        Raises:
            FloatingPointError: as `forward`.
        """
        labels, scores = self._checked(found, found.labels)
        return {"labels": labels, "scores": scores}

    @torch.no_grad()
    def image_logits(self, batched_inputs: Sequence[Mapping[str, Any]]) -> list[ImageLogits]:
        """Compute the logits of the crops of each image; crops of several images share batches.

        Args:
            batched_inputs: as in `forward`.

        Raises:
            RuntimeError: if no vocabulary was set.
        """
        text = self.text_features(self._classes)
        images = [self.view.split(item["image"].to(self.device, non_blocking=True)) for item in batched_inputs]
        chunks = batch_same_size_crops(chain.from_iterable(images), self.chunk_sizes.crops)
        with self.autocast():
            logits = [self.logits(chunk.float(), text).float() for chunk in chunks]
        each = torch.cat(logits).split([len(crops) for crops in images]) if logits else []
        return [self._of_image(item, of_crops) for item, of_crops in zip(batched_inputs, each, strict=True)]

    @torch.no_grad()
    def encode_image(self, item: Mapping[str, Any]) -> ImageFeatures:
        """Compute all that does not depend on the classes, for `classify` with one vocabulary after another.

        Args:
            item: an image, as in `forward`.
        """
        crops = batch_same_size_crops(self.view.split(item["image"].to(self.device)), self.chunk_sizes.crops)
        with self.autocast():
            chunks = tuple(self.image_features(chunk.float()) for chunk in crops)
        return ImageFeatures(chunks, *_sizes(item), str(item.get("file_name", "")))

    @torch.no_grad()
    def classify(self, features: ImageFeatures) -> ImageLogits:
        """Compute logits from the features of an image: the part of `image_logits` that depends on the classes.

        Raises:
            RuntimeError: if no vocabulary was set.
        """
        text = self.text_features(self._classes)
        with self.autocast():
            logits = torch.cat([self.head_logits(chunk, text).float() for chunk in features.chunks])
        return ImageLogits(
            logits, self.view, self.chunk_sizes, features.image_size, features.output_size, features.file_name
        )

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

    def _of_image(self, item: Mapping[str, Any], logits: Tensor) -> ImageLogits:
        return ImageLogits(logits, self.view, self.chunk_sizes, *_sizes(item), str(item.get("file_name", "")))

    def _checked(self, found: ImageLogits, merge: Callable[[], Merged]) -> Merged:
        """Merge, so that a GPU has all of its work before it is waited for, and then refuse what is no number."""
        finite = all_finite(found.logits)
        merged = merge()
        if not finite:
            file = f"{found.file_name}: " * bool(found.file_name)
            raise NotFiniteError(f"{file}the scores are not numbers: {cause_of_nan(self, self.test_dtype)}")
        return merged


def _sizes(item: Mapping[str, Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return rows and columns of an image, and those of its result."""
    height, width = (int(side) for side in item["image"].shape[-2:])
    return (height, width), (int(item.get("height", height)), int(item.get("width", width)))
