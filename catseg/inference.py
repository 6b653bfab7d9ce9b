"""One image and any class names in, one label map out."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from numpy.typing import NDArray
from PIL import Image

from catseg.atomic import atomic_path
from catseg.build import build_model
from catseg.config import load_config
from catseg.data.inference_sample import inference_resize, inference_sample
from catseg.data.registration import dataset_vocabulary, register_datasets
from catseg.errors import InputError
from catseg.image_io import read_image, to_rgb
from catseg.visualization import (
    class_shares,
    heatmap,
    overlay,
    save_image,
    save_label_png,
    score_grid,
    short_names,
)
from catseg.vocabulary import Vocabulary, VocabularySource, load_vocabulary

ImageLike = str | Path | Image.Image | NDArray[np.uint8] | torch.Tensor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What the model sees in one image.

    Attributes:
        image: RGB 0..255, uint8, (H, W, 3).
        labels: index into `names` for each pixel, int32, (H, W).
        names: the classes that were looked for: a tuple of their names, which knows their synonyms.
        scores: probability of the chosen class, 0..1, float32, (H, W).
        class_scores: probability of every class, 0..1, float32, (T, H, W), if asked for. Classes are scored one by
            one, so they do not add up to 1.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    names: Vocabulary
    scores: NDArray[np.float32]
    class_scores: NDArray[np.float32] | None = None

    def share(self) -> dict[str, float]:
        """Return the classes in the image, most first, each with its share of the pixels, 0..1."""
        shares = class_shares(self.labels, len(self.names))
        return {self.names[i]: float(shares[i]) for i in np.argsort(-shares, kind="stable") if shares[i] > 0}

    def overlay(self, *, alpha: float = 0.5, legend: bool = True) -> NDArray[np.uint8]:
        """Draw the classes over the image: see `catseg.visualization.overlay`."""
        return overlay(self.image, self.labels, self.names, alpha=alpha, legend=legend)

    def confidence_image(self) -> NDArray[np.uint8]:
        """Draw the probability of the chosen class over the image: see `catseg.visualization.heatmap`."""
        return heatmap(self.image, self.scores)

    def class_scores_image(self, limit: int = 12) -> NDArray[np.uint8]:
        """Draw the probabilities of the classes that cover most of the image, `limit` at most.

        Raises:
            ValueError: if the class scores were not asked for.
        """
        names = short_names(self.names)
        shown = [self.names.index(name) for name in list(self.share())[:limit]]
        return score_grid(self.image, self._class_scores()[shown], [names[index] for index in shown])

    def save(self, path: str | Path) -> None:
        """Write the overlay with its legend as an image, .png or .jpg: see `catseg.visualization.save_image`."""
        save_image(path, self.overlay())

    def save_labels(self, path: str | Path) -> None:
        """Write the label map as a PNG of class numbers: see `catseg.visualization.save_label_png`."""
        save_label_png(path, self.labels, len(self.names))

    def save_scores(self, path: str | Path) -> None:
        """Write every class's probabilities as a compressed NumPy file.

        Args:
            path: an .npz file. It holds `scores`, float16, (T, H, W), and `names`, (T,).

        Raises:
            ValueError: if the class scores were not asked for.
        """
        scores = self._class_scores().astype(np.float16)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, scores=scores, names=np.array(self.names))

    def _class_scores(self) -> NDArray[np.float32]:
        if self.class_scores is None:
            raise ValueError("there are no class scores: call the Predictor with class_scores=True")
        return self.class_scores


class Model(Protocol):
    """What `Predictor` needs of a model; `catseg.modeling.meta_arch.CATSeg` documents it."""

    @property
    def classes(self) -> Vocabulary:
        """The classes that are looked for."""

    def eval(self) -> Self:
        """Leave training mode."""

    def set_vocabulary(self, classes: Vocabulary) -> None:
        """Choose `classes`."""

    def text_features(self, vocabulary: Vocabulary) -> torch.Tensor:
        """Encode class names."""

    def predict_labels(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, torch.Tensor]]:
        """Return `labels` and `scores`, (H, W), of each image."""

    def __call__(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, torch.Tensor]]:
        """Return `sem_seg`, (T, H, W), of each image."""


class Predictor:
    """Segments images into classes that are named when it is called; threads may share it, and take turns.

    `Predictor.from_config("configs/catseg_ade150.yaml", ["MODEL.WEIGHTS", "model.pth"])("photo.jpg", ["sofa", "cat"])`

    Attributes:
        model: a `CATSeg`, in evaluation mode.
        resize: what images go through first, see `catseg.data.inference_sample`.
        classes: what is looked for when a call gives none.
        trained: whether weights were loaded for all of the model; otherwise its results are random.
    """

    def __init__(
        self,
        *,
        model: Model,
        resize: T.AugmentationList,
        classes: VocabularySource | None = None,
        trained: bool = True,
    ) -> None:
        """Wrap a model; the arguments become the attributes, `classes` as `load_vocabulary` takes them."""
        self.model = model.eval()
        self.resize = resize
        self.classes = None if classes is None else load_vocabulary(classes)
        self.trained = trained
        self._lock = threading.Lock()  # the model has one vocabulary at a time

    @classmethod
    def from_config(
        cls, config_file: str | Path, options: Sequence[str] = (), *, classes: VocabularySource | None = None
    ) -> "Predictor":
        """Build the model of a config file and load its weights.

        The model runs on `MODEL.DEVICE`, or, with a warning, on the CPU where that is a GPU and the machine has none.

        Args:
            config_file: a YAML file, which may be written for the authors' code.
            options: overrides as a flat list: `["MODEL.WEIGHTS", "model.pth"]`.
            classes: what is looked for until a call says otherwise, as `catseg.vocabulary.load_vocabulary` takes it;
                by default `DATASETS.TEST_CLASSES`, or else the classes of the first data set in `DATASETS.TEST`, if
                there is one.

        Returns:
            The predictor. Without trained weights its results are random, and a warning says so.

        Raises:
            FileNotFoundError: if the config file or the weights do not exist.
            ValueError: if config, options, weights or classes are not usable, or the data set is not known.
        """
        cfg = load_config(config_file, options)
        vocabulary = _default_classes(cfg) if classes is None else load_vocabulary(classes)
        model, trained = build_model(cfg, cfg.MODEL.WEIGHTS)
        if not trained:
            logger.warning("MODEL.WEIGHTS %r holds no trained CAT-Seg: the results are random", cfg.MODEL.WEIGHTS)
        return cls(model=model, resize=inference_resize(cfg), classes=vocabulary, trained=trained)

    def __call__(
        self,
        image: ImageLike,
        classes: VocabularySource | None = None,
        *,
        class_scores: bool = False,
    ) -> Segmentation:
        """Segment one image.

        Args:
            image: a file, a PIL image, a uint8 RGB array (H, W, 3), a grey one (H, W), or a uint8 RGB tensor (3, H, W).
            classes: the classes to look for, as `catseg.vocabulary.load_vocabulary` takes them; the predictor's own
                by default. Only names that are new are encoded.
            class_scores: whether to return the probabilities of all classes too: 4 * T * H * W bytes.

        Returns:
            Labels and scores of the image's own height and width.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the image cannot be read or the class names are not usable.
            FloatingPointError: if the scores are not numbers.
        """
        vocabulary = self._vocabulary(classes)
        rgb = read_image(Path(image).expanduser()) if isinstance(image, str | Path) else to_rgb(image)
        inputs = [inference_sample(rgb, self.resize)]
        with self._lock, torch.inference_mode():
            if vocabulary != self.model.classes:
                self.model.set_vocabulary(vocabulary)
            if class_scores:
                probabilities = self.model(inputs)[0]["sem_seg"].float()
                scores, labels = probabilities.max(dim=0)
            else:
                probabilities = None
                result = self.model.predict_labels(inputs)[0]
                scores, labels = result["scores"].float(), result["labels"]
        return Segmentation(
            image=rgb,
            labels=labels.to(torch.int32).cpu().numpy(),
            names=vocabulary,
            scores=scores.cpu().numpy(),
            class_scores=None if probabilities is None else probabilities.cpu().numpy(),
        )

    def encode_classes(self) -> None:
        """Encode the predictor's own classes, as the first image does otherwise.

        Raises:
            ValueError: if there are none, or they cannot be encoded.
        """
        vocabulary = self._vocabulary(None)
        with self._lock, torch.inference_mode():
            self.model.set_vocabulary(vocabulary)
            self.model.text_features(vocabulary)

    def _vocabulary(self, classes: VocabularySource | None) -> Vocabulary:
        vocabulary = self.classes if classes is None else load_vocabulary(classes)
        if vocabulary is None:
            raise InputError("no classes to look for: give some, or name a data set in DATASETS.TEST")
        return vocabulary


def _default_classes(cfg: CfgNode) -> Vocabulary | None:
    """Return DATASETS.TEST_CLASSES, or else the classes of the first data set that is tested on, None without any."""
    if cfg.DATASETS.TEST_CLASSES:
        return load_vocabulary(cfg.DATASETS.TEST_CLASSES)
    if not cfg.DATASETS.TEST:
        return None
    register_datasets()
    return dataset_vocabulary(cfg.DATASETS.TEST[0])
