"""From images to results: reading, the network, and what its logits say."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import transforms as T
from numpy.typing import NDArray

from catseg.api.inputs import ImagesLike, ImageSource, image_sources
from catseg.api.request import Request
from catseg.api.result import Found, Result
from catseg.api.streaming import batched, map_ahead
from catseg.console import one_line, shows_traceback
from catseg.data.inference_sample import inference_sample
from catseg.errors import InputError
from catseg.modeling.image_logits import ImageFeatures, ImageLogits
from catseg.modeling.segmenter import OpenVocabularySegmenter

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An image as `CATSegModel.encode` returns it: `segment` takes it, with any classes, at the cost of the head alone.

    Attributes:
        image: RGB 0..255, (H, W, 3).
        source: its file, if it is one.
        features: on the model's device.
    """

    image: NDArray[np.uint8]
    source: Path | None
    features: ImageFeatures


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image on its way.

    Attributes:
        source: what it is read from.
        image: RGB 0..255, (H, W, 3); None if it could not be read.
        sample: what the network takes of it.
        error: why it could not be read.
    """

    source: ImageSource
    image: NDArray[np.uint8] | None = None
    sample: dict[str, Any] | None = None
    error: Exception | None = None


class Pipeline:
    """Runs a model on images. Threads may share it, and take turns.

    Args:
        module: the model, in evaluation mode.
        resize: what images go through first, see `catseg.data.inference_sample`.
    """

    def __init__(self, module: OpenVocabularySegmenter, resize: T.AugmentationList) -> None:
        self.module = module
        self._resize = resize
        self.lock = threading.Lock()  # the module has one vocabulary at a time

    @contextmanager
    def turn(self, request: Request) -> Iterator[None]:
        """Hold the module, with the classes and templates of a call."""
        with self.lock, torch.inference_mode():
            self.module.set_templates(request.templates)
            if request.vocabulary != self.module.classes:
                self.module.set_vocabulary(request.vocabulary)
            yield

    def stream(self, images: ImagesLike, request: Request, *, batch: int, threads: int) -> Iterator[Result]:
        """Yield the results of images in order, `batch` of which share batches of windows; `threads` read ahead."""
        prepared = map_ahead(self.prepare, image_sources(images), threads=threads, ahead=batch + threads)
        for group in batched(prepared, batch):
            yield from self.finish(group, request)

    def prepare(self, source: ImageSource) -> Prepared:
        """Read an image, and prepare it for the network."""
        try:
            image = source.read()
            sample = inference_sample(image, self._resize)
        except Exception as error:  # whatever is wrong with one image, the others are segmented
            return Prepared(source, error=error)
        if source.path is not None:
            sample["file_name"] = str(source.path)
        return Prepared(source, image, sample)

    def finish(self, group: Sequence[Prepared], request: Request) -> list[Result]:
        """Segment images together; each by itself where that fails, so that one does not fail the others."""
        samples = [item.sample for item in group if item.sample is not None]
        try:
            with self.turn(request):
                logits = iter(self.module.image_logits(samples) if samples else [])
        except Exception as error:
            if len(group) > 1:
                return [result for item in group for result in self.finish([item], request)]
            return [self._failed(group[0].source.path, error, request)]
        return [self._result(item, next(logits) if item.sample else None, request) for item in group]

    def encode(self, source: ImageSource) -> EncodedImage:
        """Compute what does not depend on the classes.

        Raises:
            FileNotFoundError, OSError, ValueError: if the image cannot be read.
        """
        prepared = self.prepare(source)
        if prepared.image is None or prepared.sample is None:
            raise prepared.error or InputError("there is no image")
        with self.lock, torch.inference_mode():
            features = self.module.encode_image(prepared.sample)
        return EncodedImage(prepared.image, source.path, features)

    def segment_encoded(self, encoded: EncodedImage, request: Request) -> Result:
        """Segment an image that was encoded before."""
        try:
            with self.turn(request):
                logits = self.module.classify(encoded.features)
        except Exception as error:
            return self._failed(encoded.source, error, request)
        return self._result(Prepared(ImageSource(encoded.image, encoded.source), encoded.image), logits, request)

    def _result(self, item: Prepared, logits: ImageLogits | None, request: Request) -> Result:
        if item.error is not None or item.image is None or logits is None:
            return self._failed(item.source.path, item.error or InputError("there is no image"), request)
        try:
            with torch.inference_mode():
                found = self._found(item.image, logits, request)
        except Exception as error:
            return self._failed(item.source.path, error, request)
        return Result(names=request.names, source=item.source.path, found=found)

    def _found(self, image: NDArray[np.uint8], logits: ImageLogits, request: Request) -> Found:
        logits = logits.of_first(request.classes)
        found = self.module.label_image(logits)
        labels, scores = found["labels"].to(torch.int32), found["scores"].float()
        has_background = len(request.names) > request.classes
        labels.masked_fill_(scores < request.threshold, request.classes if has_background else -1)
        kept = replace(logits, logits=logits.logits.to("cpu", copy=True)) if request.keep_probabilities else None
        return Found(image, labels.cpu().numpy(), scores.cpu().numpy(), kept)

    def _failed(self, source: Path | None, error: Exception, request: Request) -> Result:
        if request.on_error == "raise":
            raise error
        if shows_traceback(error):
            logger.error("%s", source or "an image", exc_info=error)
        reason = one_line(error) or f"{type(error).__name__}: {error}"
        return Result(names=request.names, source=source, error=reason)
