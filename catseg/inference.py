"""One image and any class names in, one label map out, as the published evaluation computes it."""

import logging
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode

from catseg.api.inputs import ImageLike
from catseg.api.model import CATSegModel
from catseg.api.result import Result
from catseg.build import build_model
from catseg.config import load_config
from catseg.data.registration import dataset_vocabulary, register_datasets
from catseg.modeling.segmenter import OpenVocabularySegmenter
from catseg.vocabulary import Vocabulary, VocabularySource, load_vocabulary

logger = logging.getLogger(__name__)


class Predictor:
    """Gives every pixel one of the classes, without a threshold: what Detectron2's `DefaultPredictor` is to its models.

    `catseg.load` has more to offer: many images, thresholds, and models by name. Threads may share a predictor, and
    take turns.

    `Predictor.from_config("configs/catseg_ade150.yaml", ["MODEL.WEIGHTS", "model.pth"])("photo.jpg", ["sofa", "cat"])`
    """

    def __init__(self, model: CATSegModel) -> None:
        """Wrap a model."""
        self._model = model

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
        return cls(model_from_config(config_file, options, classes))

    @property
    def model(self) -> OpenVocabularySegmenter:
        """The Detectron2 model, in evaluation mode."""
        return self._model.module

    @property
    def classes(self) -> Vocabulary | None:
        """What is looked for when a call gives none."""
        return self._model.classes

    @property
    def trained(self) -> bool:
        """Whether weights were loaded for all of the model; otherwise its results are random."""
        return self._model.trained

    def __call__(
        self, image: ImageLike, classes: VocabularySource | None = None, *, class_scores: bool = False
    ) -> Result:
        """Segment one image.

        Args:
            image: one image, as `CATSegModel.segment` takes it.
            classes: the classes to look for, as `catseg.vocabulary.load_vocabulary` takes them; the predictor's own
                by default. Only names that are new are encoded.
            class_scores: whether the result can tell the probabilities of all classes.

        Returns:
            Labels and scores of the image's own height and width.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the image cannot be read or the class names are not usable.
            FloatingPointError: if the scores are not numbers.
        """
        return self._model.segment(
            image, classes, threshold=0.0, context=None, keep_probabilities=class_scores, on_error="raise"
        )


def model_from_config(
    config_file: str | Path, options: Sequence[str] = (), classes: VocabularySource | None = None
) -> CATSegModel:
    """Build the model that a predictor wraps. Arguments and errors as `Predictor.from_config`."""
    cfg = load_config(config_file, options)
    vocabulary = _default_classes(cfg) if classes is None else load_vocabulary(classes)
    module, trained = build_model(cfg, cfg.MODEL.WEIGHTS)
    if not trained:
        logger.warning("MODEL.WEIGHTS %r holds no trained CAT-Seg: the results are random", cfg.MODEL.WEIGHTS)
    return CATSegModel(module, cfg, name=str(config_file), classes=vocabulary, trained=trained)


def _default_classes(cfg: CfgNode) -> Vocabulary | None:
    """Return DATASETS.TEST_CLASSES, or else the classes of the first data set that is tested on, None without any."""
    if cfg.DATASETS.TEST_CLASSES:
        return load_vocabulary(cfg.DATASETS.TEST_CLASSES)
    if not cfg.DATASETS.TEST:
        return None
    register_datasets()
    return dataset_vocabulary(cfg.DATASETS.TEST[0])
