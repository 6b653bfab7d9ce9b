"""Scores a model's label maps against those of a registered data set."""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from numpy.typing import NDArray
from PIL import Image

from catseg.atomic import atomic_path, write_json
from catseg.errors import InputError, RunError
from catseg.evaluation.confusion import confusion_matrix, scores
from catseg.file_names import result_names
from catseg.image_io import read_image
from catseg.label_coverage import LabelCoverage
from catseg.label_io import check_label_size, read_classes
from catseg.vocabulary import load_vocabulary

logger = logging.getLogger(__name__)

Watch = Callable[[Mapping[str, Any], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], None]
Draw = Callable[[NDArray[np.uint8], NDArray[np.int64], Sequence[str]], NDArray[np.uint8]]


class SemSegEvaluator(DatasetEvaluator):
    """Adds up a confusion matrix over images and, in the main process, turns it into scores.

    A warning names the classes that no label map holds, and tells if most pixels are ignored.

    Args:
        dataset_name: a registered data set; its metadata give `stuff_classes`, `ignore_label`, and optionally
            `score_groups` (group name to class indices, see `catseg.evaluation.confusion.scores`), `image_root`, and
            `scored_classes`: the classes that scores tell apart, if fewer than `stuff_classes`. Every predicted class
            from the last of them on counts as that one, such as the background; label files hold no class beyond it.
        distributed: add up over all processes; else each has the scores of its own images.
        output_dir: folder for `scores.json`, `confusion_matrix.npz` and the two below; nothing is written if None.
        save_labels: write the class numbers of each prediction to `labels/<image>.png`, with 8 bits for up to 256
            classes, else 16. Images are named by their paths below `image_root`, or below the deepest folder that holds
            all of the data set, without suffix except where two would have one name.
        draw: given an RGB image, uint8 (H, W, 3), its predicted classes, int64 (H, W), and the class names, makes a
            image, uint8 RGB of any size, which is written to `overlays/<image>.jpg`.
        watch: called for each image with the sample, its true and its predicted classes as they are scored, int64
            (H, W), and its own confusion matrix.

    Raises:
        ValueError: if images or labels are to be written, but there is no `output_dir`.
    """

    def __init__(
        self,
        dataset_name: str,
        distributed: bool = True,
        output_dir: str | Path | None = None,
        *,
        save_labels: bool = False,
        draw: Draw | None = None,
        watch: Watch | None = None,
    ) -> None:
        if output_dir is None and (save_labels or draw is not None):
            raise ValueError("predictions can be written only where output_dir says")
        self.dataset_name = dataset_name
        self.distributed = distributed
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.save_labels = save_labels
        self.draw = draw
        self.watch = watch
        metadata = MetadataCatalog.get(dataset_name)
        origin = f"stuff_classes of the data set {dataset_name}"
        self.classes = load_vocabulary(metadata.stuff_classes, origin=origin)
        self.scored_classes: Sequence[str] = metadata.get("scored_classes", self.classes)
        self.ignore_label: int = metadata.ignore_label
        self.groups: Mapping[str, Sequence[int]] = metadata.get("score_groups", {})
        self._result_names = _result_names(dataset_name) if save_labels or draw is not None else {}
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self.matrix = np.zeros((len(self.scored_classes), len(self.scored_classes)), dtype=np.int64)
        self.image_count = 0
        self.ignored = 0

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Count the pixels of some images, and write their predictions if asked to.

        Args:
            inputs: with "file_name" and "sem_seg_file_name", and "upright" as `catseg.data.records` has it.
            outputs: for each input either "labels", integers (H, W), optionally with their "scores", (H, W), or
                "sem_seg", scores (T, H, W) whose highest is taken; of the size of the input's label file.

        Raises:
            FileNotFoundError: if a label file is missing.
            ValueError: if a label file cannot be read, a prediction does not fit it, or its scores are not
                numbers. The message names the file.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            truth = read_classes(
                sample["sem_seg_file_name"], num_classes=len(self.scored_classes), ignore_label=self.ignore_label
            )
            try:
                predicted = self._predicted_classes(output)
                check_label_size(sample["sem_seg_file_name"], truth.shape, sample["file_name"], predicted.shape)
                merged = self._merged(predicted)
                counts = confusion_matrix(
                    truth, merged, num_classes=len(self.scored_classes), ignore_label=self.ignore_label
                )
            except ValueError as error:
                raise InputError(f"the prediction for {sample['file_name']} cannot be scored: {error}") from error
            self.matrix += counts
            self.image_count += 1
            self.ignored += truth.size - int(counts.sum())
            if self.watch is not None:
                self.watch(sample, truth, merged, counts)
            if self.output_dir is not None and self._result_names:
                self._write_prediction(self.output_dir, sample, predicted)

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """Compute the scores of all images so far.

        Returns:
            `{"sem_seg": scores}`, see `catseg.evaluation.confusion.scores`; None in all but the main process.

        Raises:
            RuntimeError: if there was no image.
            ValueError: if no pixel has a ground truth.
        """
        matrix, image_count, ignored = self.matrix, self.image_count, self.ignored
        if self.distributed:
            gathered = comm.gather((matrix, image_count, ignored))
            if not comm.is_main_process():
                return None
            matrix, image_count, ignored = (sum(parts) for parts in zip(*gathered, strict=True))
        if not image_count:
            raise RunError(f"no image of {self.dataset_name} was evaluated: is the data set, or its loader, empty?")
        coverage = LabelCoverage(image_count, matrix.sum(axis=1), ignored)
        warning = coverage.warning(
            self.dataset_name, self.scored_classes, ignore_label=self.ignore_label, label_maps=image_count
        )
        if warning:
            logger.warning(warning)
        results = scores(matrix, self.scored_classes, self.groups)
        logger.info("Evaluated %d images of %s: mIoU %.2f", image_count, self.dataset_name, results["mIoU"])
        if self.output_dir is not None:
            self._write_scores(self.output_dir, matrix, image_count, results)
        return OrderedDict(sem_seg=results)

    def _merged(self, predicted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Make the last of the scored classes of those predicted classes that come after it."""
        if predicted.size and predicted.max() >= len(self.classes):
            raise InputError(
                f"prediction has the values {predicted.min()}..{predicted.max()}, "
                f"classes are 0..{len(self.classes) - 1}"
            )
        return np.minimum(predicted, len(self.scored_classes) - 1)

    def _predicted_classes(self, output: Mapping[str, Any]) -> NDArray[np.int64]:
        numbers = output.get("scores", output.get("sem_seg"))
        if numbers is not None and not numbers.isfinite().all():
            raise InputError("the scores are not numbers")
        if "labels" in output:
            return output["labels"].cpu().numpy().astype(np.int64)
        class_scores = output["sem_seg"]
        if len(class_scores) != len(self.classes):
            raise InputError(
                f"it scores {len(class_scores)} classes, {self.dataset_name} has {len(self.classes)}: "
                "was the model's vocabulary set to them?"
            )
        return class_scores.argmax(dim=0).cpu().numpy()

    def _write_prediction(self, folder: Path, sample: Mapping[str, Any], predicted: NDArray[np.int64]) -> None:
        name = self._result_names[os.fspath(sample["file_name"])]
        if self.save_labels:
            dtype = np.uint8 if len(self.classes) <= 256 else np.uint16
            with atomic_path(folder / "labels" / f"{name}.png") as path:
                Image.fromarray(predicted.astype(dtype)).save(path)
        if self.draw is not None:
            image = read_image(sample["file_name"], upright=sample.get("upright", True))
            drawing = self.draw(image, predicted, self.classes)
            with atomic_path(folder / "overlays" / f"{name}.jpg") as path:
                Image.fromarray(drawing).save(path, quality=90)

    def _write_scores(
        self, folder: Path, matrix: NDArray[np.int64], image_count: int, results: Mapping[str, float]
    ) -> None:
        report = {
            "dataset": self.dataset_name,
            "images": image_count,
            "scores": results,  # null for those of classes without a pixel
        }
        write_json(folder / "scores.json", report)
        with atomic_path(folder / "confusion_matrix.npz") as path:
            np.savez_compressed(path, matrix=matrix, classes=np.array(self.scored_classes))


def _result_names(dataset_name: str) -> dict[str, str]:
    """Return what the results of each image of a data set are called, by its file."""
    files = list(dict.fromkeys(os.fspath(record["file_name"]) for record in DatasetCatalog.get(dataset_name)))
    paths = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100 (links are kept)
    root = MetadataCatalog.get(dataset_name).get("image_root")
    root = None if root is None else Path(os.path.abspath(root))  # noqa: PTH100
    if root is not None and not all(path.is_relative_to(root) for path in paths):
        root = None
    return dict(zip(files, result_names(paths, root), strict=True))
