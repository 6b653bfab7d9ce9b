"""One run: a model, a list of images, and what came of each."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from catseg.checkpoint.sources import fetch
from catseg.config import read_config
from catseg.console import one_line, shows_traceback
from catseg.errors import InputError
from catseg.inference import Predictor
from catseg.segmenting.inputs import InputImage
from catseg.segmenting.results import OutputError, ResultFolder

__all__ = ["Job", "OutputError"]

logger = logging.getLogger("demo")


class Job:
    """Segments images one by one and goes on after those that fail.

    Attributes:
        done: the record of each image that is done: see `ResultFolder.save`.
        failed: why an image is not, by its path.
    """

    def __init__(
        self,
        *,
        config_file: str,
        options: Sequence[str],
        classes: str | None,
        images: Sequence[InputImage],
        left_out: Mapping[str, str],
        folder: Path,
        image_format: str,
        side_by_side: bool,
        scores: bool,
    ) -> None:
        """Build the model, encode the class names and make the output folder.

        Args:
            config_file: a YAML file.
            options: config overrides, as a flat list.
            classes: what to look for, as `catseg.vocabulary.load_vocabulary` takes it; None for the config's test set.
            images: what to segment.
            left_out: why other files are not, by path, for the summary.
            folder: where results go.
            image_format: suffix of the result images, without dot.
            side_by_side: whether to write image and overlay in one image.
            scores: whether to write probabilities.

        Raises:
            FileNotFoundError: if the config, the weights or the class file do not exist.
            ValueError: if config, options, weights or classes are not usable.
            OSError: if the folder cannot be made.
        """
        self.done: list[dict[str, Any]] = []
        self.failed: dict[str, str] = {}
        self._images = images
        self._scores = scores
        cfg = read_config(config_file, options).cfg  # what it notes is logged by the predictor
        self._results = ResultFolder(
            folder, images, image_format=image_format, side_by_side=side_by_side, scores=scores
        )
        self._predictor = _predictor(config_file, options, classes)
        if self._predictor.classes is None:
            raise InputError("the config names no test set to take the classes from: give --classes")
        self._classes: tuple[str, ...] = self._predictor.classes
        self._predictor.encode_classes()  # what cannot be encoded would fail once for each image
        self._about = {
            "config_file": config_file,
            "weights": cfg.MODEL.WEIGHTS,
            "trained": self._predictor.trained,
            "classes": self._classes,
            "left_out": left_out,
        }
        weights = cfg.MODEL.WEIGHTS and str(fetch(cfg.MODEL.WEIGHTS))
        self._results.use_settings([cfg.dump(), self._classes], files=[weights])

    def run(self, *, skip_existing: bool) -> None:
        """Do all images, then write the summary of them.

        Args:
            skip_existing: whether to leave out what an earlier run did with the same settings.

        Raises:
            OutputError: if the results cannot be written.
        """
        with logging_redirect_tqdm():
            for image in tqdm(self._images, unit="image", disable=None):
                self._do(image, skip_existing)
        self._results.write_summary(self._about, self.done, self.failed)

    def _do(self, image: InputImage, skip_existing: bool) -> None:
        record = self._results.finished(image) if skip_existing else None
        try:
            if record is None:
                result = self._predictor(image.path, class_scores=self._scores)
                record = self._results.save(image, result)
        except OutputError:
            raise
        except Exception as error:  # whatever is wrong with one image, the others are done
            reason = one_line(error) or f"{type(error).__name__}: {error}"
            self.failed[str(image.path)] = reason.removeprefix(str(image.path)).lstrip(": ")
            if shows_traceback(error):
                logger.error("%s", image.path, exc_info=True)
        else:
            self.done.append(record)


def _predictor(config_file: str, options: Sequence[str], classes: str | None) -> Predictor:
    try:
        return Predictor.from_config(config_file, options, classes=classes)
    except FileNotFoundError as error:
        if "MODEL.WEIGHTS" in options or "MODEL.WEIGHTS" not in str(error):
            raise
        raise FileNotFoundError(
            "the demo needs trained weights: give them by --opts MODEL.WEIGHTS model.pth, or catseg://v1-large "
            f"(those of {config_file}, which training starts from, are not at hand either: {error})"
        ) from error
