"""A model that segments anything that is an image into any classes that are named."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, Unpack, overload

import torch
from detectron2.config import CfgNode
from numpy.typing import NDArray
from PIL import Image

from catseg.api.folder import push_folder, save_folder
from catseg.api.inputs import ImageLike, ImagesLike, image_sources, is_one_image
from catseg.api.pipeline import EncodedImage, Pipeline
from catseg.api.request import THRESHOLD, Request, SegmentOptions, make_request
from catseg.api.result import Result
from catseg.build import usable_device
from catseg.data.inference_sample import inference_resize
from catseg.errors import InputError
from catseg.modeling.clip.prompt_templates import prompt_templates
from catseg.modeling.execution import chunk_sizes_from_config, dtype_from_config, dtype_name
from catseg.modeling.segmenter import OpenVocabularySegmenter
from catseg.vocabulary import VocabularySource, load_vocabulary

READING_THREADS = 2

Device = str | torch.device


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
        module: OpenVocabularySegmenter,
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
        self._pipeline = Pipeline(self.module, inference_resize(config))
        self._templates = module.text_encoder.templates
        self._reload = reload

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
        with self._pipeline.lock:
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
                the classes stays below the threshold (`python -m catseg.shapes.threshold` measures it on *shapes*;
                published models were not measured here). They cost what as many more classes cost. None, with a
                threshold of 0, is what the published evaluation does.
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
        request = self._request(
            classes,
            context=context,
            templates=templates,
            threshold=threshold,
            background=background,
            keep_probabilities=keep_probabilities,
            on_error=on_error,
        )
        if batch < 1 or threads < 0:
            raise InputError(f"batch must be at least 1 and threads at least 0, got {batch} and {threads}")
        if isinstance(images, EncodedImage):
            return self._pipeline.segment_encoded(images, request)
        if is_one_image(images):
            (source,) = image_sources(images)
            return self._pipeline.finish([self._pipeline.prepare(source)], request)[0]
        return self._pipeline.stream(images, request, batch=batch, threads=threads)

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
        return self._pipeline.encode(source)

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
        self._request(classes, context=context)

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

    def _request(
        self,
        classes: VocabularySource | None,
        *,
        context: VocabularySource | None,
        templates: str | Sequence[str] | None = None,
        threshold: float = THRESHOLD,
        background: str | None = None,
        keep_probabilities: bool = False,
        on_error: str = "raise",
    ) -> Request:
        """Check what a call asks for and encode its classes, before any image is read."""
        names = self.classes if classes is None else load_vocabulary(classes)
        if names is None:
            raise InputError('no classes to look for: give some, such as ["sofa", "cat"]')
        request = make_request(
            names,
            threshold=threshold,
            background=background,
            context=self.context if context == "training" else context,
            templates=self._templates if templates is None else prompt_templates(templates),
            keep_probabilities=keep_probabilities,
            on_error=on_error,
        )
        with self._pipeline.turn(request):
            self.module.text_features(request.vocabulary)
        return request
