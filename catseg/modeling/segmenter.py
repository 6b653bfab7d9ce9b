"""What every network here does with images and class names: a vocabulary in, scores and label maps out.

Shapes: T classes, P prompt templates, C joint embedding width, N crops of an image.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any, TypeVar

import torch
from open_clip.model import CLIP
from torch import Tensor

from catseg.errors import NotFiniteError, RunError
from catseg.modeling.clip.text_encoder import TextEncoder
from catseg.modeling.image_logits import CropFeatures, ImageFeatures, ImageLogits
from catseg.modeling.layers.chunking import ChunkSizes
from catseg.modeling.layers.finite import all_finite, cause_of_nan
from catseg.modeling.layers.images import ImageInput
from catseg.modeling.layers.running_statistics import FrozenStatistics
from catseg.modeling.sliding_window import View, batch_same_size_crops
from catseg.vocabulary import Vocabulary, VocabularySource, load_vocabulary

Merged = TypeVar("Merged")


class OpenVocabularySegmenter(FrozenStatistics):
    """A network that segments images into the classes that it is told. Subclasses compute features and logits of crops.

    Attributes:
        pretrained: whether all weights that it was built with are trained ones, so that it needs no checkpoint.
        clip: owns the parameters of the image encoder and the text encoder.
        clip_input: normalises and resizes crops for CLIP.
        text_encoder: computes text features of class names.
        view: splits images into crops in inference, and merges their logits.
        chunk_sizes: how much goes through the network at once.
        test_dtype: computing type of inference; float32 means that of the weights, others go through autocast.
    """

    pretrained: bool = False
    clip: CLIP
    clip_input: ImageInput
    text_encoder: TextEncoder
    view: View
    chunk_sizes: ChunkSizes
    test_dtype: torch.dtype
    _classes = Vocabulary()

    @abstractmethod
    def image_features(self, crops: Tensor) -> CropFeatures:
        """Compute all of crops `(B, 3, h, w)`, RGB 0..255, that does not depend on the classes."""

    @abstractmethod
    def head_logits(self, image_features: CropFeatures, text_features: Tensor) -> Tensor:
        """Compute logits `(B, T, h, w)` from what `image_features` returns and text features `(T, P, C)`."""

    def logits(self, crops: Tensor, text_features: Tensor) -> Tensor:
        """Run the network on crops.

        Args:
            crops: RGB, `(B, 3, h, w)`, 0..255; resized to what the network expects.
            text_features: `(T, P, C)`, L2-normalised.

        Returns:
            `(B, T, h, w)`, at the resolution of the network's output.
        """
        return self.head_logits(self.image_features(crops), text_features)

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.clip_input.mean.device

    def autocast(self) -> AbstractContextManager[Any]:
        """Autocast to `test_dtype`; for float32, the autocast of the caller stays in force."""
        if self.test_dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.test_dtype)

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

    def forward(self, batched_inputs: Sequence[Mapping[str, Any]]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Compute class probabilities.

        Args:
            batched_inputs: per image, `image`: RGB, `(3, h, w)`, 0..255, uint8 or float; optionally `height` and
                `width` of the output, by default the image's own.

        Returns:
            Per image `{"sem_seg": (T, height, width)}`, probabilities of each class, 0..1.

        Raises:
            RuntimeError: if no vocabulary was set.
            FloatingPointError: if the scores of an image are not numbers. The message has the image's `file_name`, if
                there is one.
        """
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
        return self._image_logits(logits, features.image_size, features.output_size, features.file_name)

    def text_features(self, vocabulary: Vocabulary) -> Tensor:
        """Encode classes as text features `(T, P, C)`, L2-normalised, on the model's device.

        Raises:
            RuntimeError: if there are none.
        """
        if not vocabulary:
            setter = "set_train_vocabulary" if self.training else "set_vocabulary"
            raise RunError(f"the model has no classes yet: call {setter}(classes) first")
        return self.text_encoder.encode(vocabulary).to(self.device)

    def _of_image(self, item: Mapping[str, Any], logits: Tensor) -> ImageLogits:
        return self._image_logits(logits, *_sizes(item), str(item.get("file_name", "")))

    def _image_logits(
        self, logits: Tensor, image_size: tuple[int, int], output_size: tuple[int, int], file_name: str
    ) -> ImageLogits:
        return ImageLogits(logits, self.view, self.chunk_sizes, image_size, output_size, file_name)

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
