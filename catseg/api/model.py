"""A model that segments anything that is an image into any classes that are named."""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack, overload

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.utils.logger import log_first_n
from numpy.typing import NDArray
from PIL import Image

from catseg.api.folder import push_folder, save_folder
from catseg.api.inputs import ImageLike, ImagesLike, ImageSource, image_sources, is_one_image
from catseg.api.result import Found, Result
from catseg.api.streaming import batched, map_ahead
from catseg.build import usable_device
from catseg.console import one_line, shows_traceback
from catseg.data.inference_sample import inference_resize, inference_sample
from catseg.errors import InputError
from catseg.modeling.clip.prompt_templates import prompt_templates
from catseg.modeling.execution import TYPES, chunk_sizes_from_config, dtype_from_config
from catseg.modeling.image_logits import ImageFeatures, ImageLogits
from catseg.modeling.meta_arch import CATSeg
from catseg.vocabulary import Vocabulary, VocabularySource, load_vocabulary

THRESHOLD = 0.5  # see `CATSegModel.segment`
READING_THREADS = 2

logger = logging.getLogger(__name__)

Device = str | torch.device


class SegmentOptions(TypedDict, total=False):
    """Keywords of `CATSegModel.segment`, which explains them."""

    threshold: float
    background: str | None
    context: VocabularySource | None
    templates: str | Sequence[str] | None
    batch: int
    threads: int
    keep_probabilities: bool
    on_error: Literal["result", "raise"]


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
class _Prepared:
    """An image on its way: what was read of it, or why it could not be."""

    source: ImageSource
    image: NDArray[np.uint8] | None = None
    sample: dict[str, Any] | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class _Options:
    """What a call asks for.

    Attributes:
        names: of the result.
        classes: how many of them the network looks for: all, but for the background.
        vocabulary: what it is asked for: these classes and the context.
    """

    names: Vocabulary
    classes: int
    vocabulary: Vocabulary
    templates: tuple[str, ...]
    threshold: float
    keep_probabilities: bool
    on_error: str


class CATSegModel:
    """Segments images; `catseg.load` makes one. Threads may share it, and take turns.

    A model that `catseg.load` made can be pickled, for worker processes: what is pickled is how to load it again.

    Attributes:
        module: the Detectron2 model, in evaluation mode.
        config: of the model.
        name: what it was loaded by.
        classes: what is looked for when a call gives none; None for nothing.
        context: the classes that the model was trained with, None if they are not known: see `segment`.
        trained: whether weights were loaded for all of the model; otherwise its results are random.
    """

    def __init__(
        self,
        module: CATSeg,
        config: CfgNode,
        *,
        name: str = "",
        classes: VocabularySource | None = None,
        context: VocabularySource | None = None,
        trained: bool = True,
        reload: Callable[[], "CATSegModel"] | None = None,
    ) -> None:
        """Wrap a model. The arguments become the attributes, classes as `load_vocabulary` takes them.

        Raises:
            ValueError: if the classes or INPUT.FORMAT cannot be used.
        """
        self.module = module.eval()
        self.config = config
        self.name = name
        self.classes = None if classes is None else load_vocabulary(classes)
        self.context = None if context is None else load_vocabulary(context)
        self.trained = trained
        self._resize = inference_resize(config)
        self._templates = module.text_encoder.templates
        self._reload = reload
        self._lock = threading.Lock()  # the module has one vocabulary at a time

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.module.device

    def to(self, device: Device | None = None, *, dtype: str | torch.dtype | None = None) -> Self:
        """Move the model, in place.

        Args:
            device: as torch names it; by default where it is.
            dtype: computing type, "float32", "bfloat16" or "float16"; by default what it is.

        Raises:
            ValueError: if there is no such device or type.
        """
        config = self.config.clone()
        config.defrost()
        if device is not None:
            config.MODEL.DEVICE = usable_device(str(device))
        if dtype is not None:
            config.TEST.DTYPE = dtype_name(dtype)
        with self._lock:
            self.module.to(config.MODEL.DEVICE)
            self.module.test_dtype = dtype_from_config(config)
            self.module.chunk_sizes = chunk_sizes_from_config(config)
            self.config = config
        return self

    @overload
    def segment(  # type: ignore[overload-overlap]  # bytes and arrays are iterable as well
        self,
        images: bytes | Image.Image | NDArray[Any] | torch.Tensor | EncodedImage,
        classes: VocabularySource | None = ...,
        **options: Unpack[SegmentOptions],
    ) -> Result: ...

    @overload
    def segment(
        self,
        images: str | os.PathLike[str],
        classes: VocabularySource | None = ...,
        **options: Unpack[SegmentOptions],
    ) -> Any: ...

    @overload
    def segment(
        self,
        images: Iterable[ImageLike],
        classes: VocabularySource | None = ...,
        **options: Unpack[SegmentOptions],
    ) -> Iterator[Result]: ...

    def segment(
        self,
        images: ImagesLike | EncodedImage,
        classes: VocabularySource | None = None,
        *,
        threshold: float = THRESHOLD,
        background: str | None = None,
        context: VocabularySource | None = "training",
        templates: str | Sequence[str] | None = None,
        batch: int = 1,
        threads: int = READING_THREADS,
        keep_probabilities: bool = True,
        on_error: Literal["result", "raise"] = "result",
    ) -> Result | Iterator[Result]:
        """Find out which pixel is which.

        Args:
            images: an image: a path, the bytes of a file, a PIL image, a NumPy array (H, W, 3) or (H, W), a tensor
                (3, H, W), or what `encode` returned. Or many: a folder, with its subfolders, a pattern such as
                "photos/*.jpg", a batch (N, H, W, 3) or (N, 3, H, W), or any iterable of these, such as a generator of
                frames.
            classes: what to look for: `["sofa", ("cat", "kitten"), "night sky"]`, a line "sofa, cat | kitten", a file,
                the name of a shipped vocabulary; by default the model's own. Only names that are new are encoded.
            threshold: pixels whose most probable class is less probable than this are nothing, label -1. 0 gives every
                pixel one of the classes.
            background: the name of one more class, the last of the result's `names`, for the pixels that are nothing.
            context: classes that the network sees beside those that are looked for, but that are no part of the result.
                The network scores classes in the light of all others, so that the probabilities of a few alone mean
                little; beside the classes that it was trained with, which is the default, they do, and what is none of
                the classes stays below the threshold (`benchmarks/threshold.py` measures it on *shapes*; published
                models were not measured here). They cost what as many more classes cost. None, with a threshold of 0,
                is what the published evaluation does.
            templates: prompt templates: "imagenet", "imagenet_select", "single", "shapes", or your own, with `{}` for
                the name; by default those that the model was trained with. If their number is another, they are
                averaged.
            batch: images that share batches of windows, which keeps a GPU busy.
            threads: that read images ahead.
            keep_probabilities: whether results can tell probabilities of all classes, which takes 36 KiB for each
                window and class.
            on_error: "result" gives a result whose `error` says why an image could not be segmented; "raise" raises.

        Returns:
            For one image its result; for many an iterator of results, in order. Images are read as the iterator
            advances, and none is kept.

        Raises:
            FileNotFoundError, OSError: if a file or folder cannot be read; of a single image, or with "raise".
            ValueError: if classes, templates or options are not usable; for images as above.
            FloatingPointError: for images as above, if the scores are not numbers.
        """
        options = self._options(classes, threshold, background, context, templates, keep_probabilities, on_error)
        if batch < 1 or threads < 0:
            raise InputError(f"batch must be at least 1 and threads at least 0, got {batch} and {threads}")
        if isinstance(images, EncodedImage):
            return self._segment_encoded(images, options)
        if is_one_image(images):
            (source,) = image_sources(images)
            return self._finish([self._prepare(source)], options)[0]
        return self._stream(images, options, batch, threads)

    def encode(self, image: ImageLike) -> EncodedImage:
        """Compute what does not depend on the classes, for several vocabularies on one image.

        Args:
            image: one image, as `segment` takes it.

        Raises:
            FileNotFoundError, OSError, ValueError: if it cannot be read.
        """
        if not is_one_image(image):
            raise InputError("encode takes one image: call it for each of several")
        (source,) = image_sources(image)
        prepared = self._prepare(source)
        if prepared.error is not None or prepared.image is None or prepared.sample is None:
            raise prepared.error or InputError("there is no image")
        with self._lock, torch.inference_mode():
            features = self.module.encode_image(prepared.sample)
        return EncodedImage(prepared.image, source.path, features)

    def encode_classes(
        self,
        classes: VocabularySource | None = None,
        *,
        context: VocabularySource | None = "training",
    ) -> None:
        """Encode class names ahead of the first call of `segment`, whose arguments these are.

        Raises:
            ValueError: if there are none, or they cannot be encoded.
        """
        self._options(classes, 0.0, None, context, None, False, "raise")

    @classmethod
    def from_pretrained(cls, source: str, **options: Any) -> "CATSegModel":
        """Load a model from the hub or a folder, as other libraries call it.

        Args:
            source: a folder that `save_pretrained` wrote, or "OWNER/REPO" on the Hugging Face hub.
            options: keywords of `catseg.load`.

        Raises:
            FileNotFoundError, ValueError: as `catseg.load`.
        """
        from catseg.api.loading import load  # which makes models, and so imports this module

        return load(source if Path(source).expanduser().is_dir() else f"hf://{source}", **options)

    def save_pretrained(self, folder: str | Path, *, licence: str = "") -> Path:
        """Write `config.yaml`, `model.safetensors` and a model card, which `catseg.load` takes as a folder.

        Args:
            folder: is made if needed; files of these names in it are replaced.
            licence: of the weights, as the hub calls it: "mit", "apache-2.0".

        Returns:
            The folder.

        Raises:
            RuntimeError: if the model holds no trained weights.
            OSError: if a file cannot be written; each is whole or absent, and the config comes last.
        """
        return save_folder(self, folder, licence=licence)

    def push_to_hub(
        self, repo: str, *, licence: str = "", private: bool = False, message: str = "Upload CAT-Seg model"
    ) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face hub.

        Args:
            repo: "OWNER/REPO"; is made if needed.
            licence: as in `save_pretrained`.
            private: whether a repository that is made is private.
            message: of the commit.

        Returns:
            The address of the commit.

        Raises:
            RuntimeError: if it cannot be uploaded, or the model holds no trained weights.
        """
        return push_folder(self, repo, licence=licence, private=private, message=message)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._reload is None:
            raise TypeError("only a model that catseg.load made can be pickled: it is loaded again by its name")
        return self._reload, ()

    def _options(
        self,
        classes: VocabularySource | None,
        threshold: float,
        background: str | None,
        context: VocabularySource | None,
        templates: str | Sequence[str] | None,
        keep_probabilities: bool,
        on_error: str,
    ) -> _Options:
        """Check what a call asks for and encode its classes, before any image is read."""
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold is a probability from 0 to 1, got {threshold}")
        if on_error not in ("result", "raise"):
            raise InputError(f'on_error is "result" or "raise", got {on_error!r}')
        names = self.classes if classes is None else load_vocabulary(classes)
        if names is None:
            raise InputError('no classes to look for: give some, such as ["sofa", "cat"]')
        options = _Options(
            names=names if background is None else load_vocabulary([*names.synonyms, background]),
            classes=len(names),
            vocabulary=_beside(names, self.context if context == "training" else context),
            templates=self._templates if templates is None else prompt_templates(templates),
            threshold=threshold,
            keep_probabilities=keep_probabilities,
            on_error=on_error,
        )
        if len(options.vocabulary) == 1 and not threshold:
            log_first_n(
                logging.WARNING,
                f"{names.origin} holds one class, {names[0]!r}: without a threshold, every pixel gets it",
                name=__name__,
                key="message",
            )
        with self._turn(options):
            self.module.text_features(options.vocabulary)
        return options

    @contextmanager
    def _turn(self, options: _Options) -> Iterator[None]:
        """Hold the module, with the classes and templates of a call."""
        with self._lock, torch.inference_mode():
            self.module.set_templates(options.templates)
            if options.vocabulary != self.module.classes:
                self.module.set_vocabulary(options.vocabulary)
            yield

    def _stream(self, images: ImagesLike, options: _Options, batch: int, threads: int) -> Iterator[Result]:
        prepared = map_ahead(self._prepare, image_sources(images), threads=threads, ahead=batch + threads)
        for group in batched(prepared, batch):
            yield from self._finish(group, options)

    def _prepare(self, source: ImageSource) -> _Prepared:
        try:
            image = source.read()
            sample = inference_sample(image, self._resize)
        except Exception as error:  # whatever is wrong with one image, the others are segmented
            return _Prepared(source, error=error)
        if source.path is not None:
            sample["file_name"] = str(source.path)
        return _Prepared(source, image, sample)

    def _finish(self, group: Sequence[_Prepared], options: _Options) -> list[Result]:
        """Segment images together; each by itself where that fails, so that one does not fail the others."""
        samples = [item.sample for item in group if item.sample is not None]
        try:
            with self._turn(options):
                logits = iter(self.module.image_logits(samples) if samples else [])
        except Exception as error:
            if len(group) > 1:
                return [result for item in group for result in self._finish([item], options)]
            return [self._failed(group[0].source.path, error, options)]
        return [self._result(item, next(logits) if item.sample else None, options) for item in group]

    def _segment_encoded(self, encoded: EncodedImage, options: _Options) -> Result:
        try:
            with self._turn(options):
                logits = self.module.classify(encoded.features)
        except Exception as error:
            return self._failed(encoded.source, error, options)
        return self._result(_Prepared(ImageSource(encoded.image, encoded.source), encoded.image), logits, options)

    def _result(self, item: _Prepared, logits: ImageLogits | None, options: _Options) -> Result:
        if item.error is not None or item.image is None or logits is None:
            return self._failed(item.source.path, item.error or InputError("there is no image"), options)
        try:
            with torch.inference_mode():
                found = self._found(item.image, logits, options)
        except Exception as error:
            return self._failed(item.source.path, error, options)
        return Result(names=options.names, source=item.source.path, found=found)

    def _found(self, image: NDArray[np.uint8], logits: ImageLogits, options: _Options) -> Found:
        logits = replace(logits, logits=logits.logits[:, : options.classes])
        found = self.module.label_image(logits)
        labels, scores = found["labels"].to(torch.int32), found["scores"].float()
        has_background = len(options.names) > options.classes
        labels.masked_fill_(scores < options.threshold, options.classes if has_background else -1)
        kept = replace(logits, logits=logits.logits.to("cpu", copy=True)) if options.keep_probabilities else None
        return Found(image, labels.cpu().numpy(), scores.cpu().numpy(), kept)

    def _failed(self, source: Path | None, error: Exception, options: _Options) -> Result:
        if options.on_error == "raise":
            raise error
        if shows_traceback(error):
            logger.error("%s", source or "an image", exc_info=error)
        reason = one_line(error) or f"{type(error).__name__}: {error}"
        return Result(names=options.names, source=source, error=reason)


def _beside(names: Vocabulary, context: VocabularySource | None) -> Vocabulary:
    """Return classes followed by those of a context that share no synonym with them."""
    if context is None:
        return names
    taken = {word.casefold() for words in names.synonyms for word in words}
    others = [words for words in load_vocabulary(context).synonyms if taken.isdisjoint(map(str.casefold, words))]
    return Vocabulary([*names.synonyms, *others], names.origin)


def dtype_name(dtype: str | torch.dtype) -> str:
    """Return what TEST.DTYPE calls a computing type.

    Raises:
        ValueError: if it is none.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in TYPES:
        raise InputError(f"dtype must be one of {', '.join(TYPES)}, got {name}")
    return name
