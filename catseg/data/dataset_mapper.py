"""Turns records of a data set into what the model takes."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from detectron2.data.detection_utils import check_metadata_consistency

from catseg.data.augmentation import build_train_augmentations
from catseg.data.inference_sample import check_format, inference_resize, inference_sample
from catseg.errors import InputError
from catseg.image_io import read_image
from catseg.label_io import check_label_size, read_classes


class SemSegDatasetMapper:
    """Reads the image of a record and, for training, its label map, and augments both.

    Args:
        augmentations: of training, applied to image and label map.
        resize: of inference, of the image alone. Exactly one of the two is given.
        num_classes: number of classes of the labels; read in training alone.
        ignore_label: label value of pixels without class; read in training alone.

    Raises:
        ValueError: from `from_config`, if INPUT.FORMAT is not RGB, INPUT.CROP.TYPE is not absolute, or the training
            data sets differ in their classes or in an ignored label from MODEL.SEM_SEG_HEAD.IGNORE_VALUE.
    """

    @configurable
    def __init__(
        self,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform] | None = None,
        resize: T.AugmentationList | None = None,
        num_classes: int = 0,
        ignore_label: int = 255,
    ) -> None:
        if (augmentations is None) == (resize is None):
            raise ValueError("give either augmentations, for training, or resize, for inference")
        self.augmentations = None if augmentations is None else T.AugmentationList(augmentations)
        self.resize = resize
        self.num_classes = num_classes
        self.ignore_label = ignore_label

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Read the arguments from a config; the data sets of DATASETS.TRAIN must be registered for training."""
        check_format(cfg)
        if not is_train:
            return {"resize": inference_resize(cfg)}
        crop = cfg.INPUT.CROP
        if crop.ENABLED and crop.TYPE != "absolute":
            raise InputError(f"INPUT.CROP.TYPE must be absolute, so that samples have one size, got {crop.TYPE!r}")
        ignore_label = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
        return {
            "augmentations": build_train_augmentations(
                min_sizes=cfg.INPUT.MIN_SIZE_TRAIN,
                max_size=cfg.INPUT.MAX_SIZE_TRAIN,
                min_size_sampling=cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING,
                crop_size=tuple(crop.SIZE) if crop.ENABLED else None,
                single_category_max_area=crop.SINGLE_CATEGORY_MAX_AREA,
                color=cfg.INPUT.COLOR_AUG_SSD,
                flip=cfg.INPUT.RANDOM_FLIP,
                ignore_label=ignore_label,
            ),
            "num_classes": len(_common_classes(cfg.DATASETS.TRAIN, ignore_label)),
            "ignore_label": ignore_label,
        }

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Make a sample of a record.

        Args:
            record: with "file_name", in training "sem_seg_file_name", and optionally "upright", whether to turn the
                image as its EXIF orientation says (default True); left as it is.

        Returns:
            The record and
            - "image": uint8 (3, H, W), RGB 0..255;
            - "height", "width": size in pixels of the upright image, before augmentation;
            - "sem_seg", in training: int64 (H, W), class of each pixel or the ignored label.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a file cannot be decoded, the label map has another size than the image or values that are
                no class, or the image is so narrow that augmentation would leave nothing of it. The message names the
                file.
        """
        image = read_image(record["file_name"], upright=record.get("upright", True))
        labels = self._read_labels(record, image.shape[:2]) if self.augmentations is not None else None
        try:
            made = self._inference_sample(image) if labels is None else self._training_sample(image, labels)
        except InputError as error:
            raise InputError(
                f"{record['file_name']}, {image.shape[1]} x {image.shape[0]} pixels, cannot be augmented: {error}"
            ) from error
        return {**record, **made}

    def _inference_sample(self, image: np.ndarray) -> dict[str, Any]:
        return inference_sample(image, cast(T.AugmentationList, self.resize))

    def _training_sample(self, image: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        # Detectron2 resizes float label maps of any range; its path for integers takes 8 bits alone.
        augmented = T.AugInput(image, sem_seg=labels.astype(np.float32))
        cast(T.AugmentationList, self.augmentations)(augmented)
        return {
            "image": torch.from_numpy(augmented.image.transpose(2, 0, 1).copy()),
            "sem_seg": torch.from_numpy(augmented.sem_seg.astype(np.int64)),
            "height": image.shape[0],
            "width": image.shape[1],
        }

    def _read_labels(self, record: Mapping[str, Any], size: tuple[int, ...]) -> np.ndarray:
        path = record["sem_seg_file_name"]
        labels = read_classes(path, num_classes=self.num_classes, ignore_label=self.ignore_label)
        check_label_size(path, (labels.shape[0], labels.shape[1]), record["file_name"], size)
        return labels


def _common_classes(datasets: Sequence[str], ignore_label: int) -> list[str]:
    """Class names of the training data sets, which must agree."""
    if not datasets:
        raise InputError("DATASETS.TRAIN names no data set")
    check_metadata_consistency("stuff_classes", datasets)
    for name in datasets:
        if MetadataCatalog.get(name).ignore_label != ignore_label:
            raise InputError(
                f"the data set {name} ignores the label {MetadataCatalog.get(name).ignore_label}: "
                f"set MODEL.SEM_SEG_HEAD.IGNORE_VALUE to it, got {ignore_label}"
            )
    return MetadataCatalog.get(datasets[0]).stuff_classes
