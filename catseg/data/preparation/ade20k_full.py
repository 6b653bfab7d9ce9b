"""ADE20K with all its objects, release 2021_17_01: label maps of its 847 frequent classes."""

import json
from functools import cache
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseg.data.dataset_specs import ADE20K_847, DatasetSpec
from catseg.data.preparation.jobs import Job, Made, is_file_name
from catseg.errors import InputError
from catseg.image_files import UnsuitableImageError, read_file
from catseg.image_io import read_image
from catseg.safe_pickle import load_pickle

_INDEX = "ADE20K_2021_17_01/index_ade20k.pkl"
_LABEL_IDS = Path(__file__).with_name("ade20k_847_label_ids.json")
_MAX_ID = 255 // 10 * 256 + 255  # of what the colours can code
_SHORTER_SIDE = 512  # of images of which both sides are longer


class FullADE20K:
    """The recipe of ADE20K-847: images of the index, with objects coded in colours."""

    def find(self, spec: DatasetSpec, root: Path) -> list[Job]:
        """List all jobs of a split, as `Recipe` describes."""
        return [
            Job(
                name=name,
                image=root / folder / f"{name}.jpg",
                labels=root / folder / f"{name}_seg.png",
                target=root / spec.label_dir / f"{name}.{spec.label_extension}",
                image_target=root / spec.image_dir / f"{name}.{spec.image_extension}",
            )
            for folder, name in _validation_images(root / _INDEX)
        ]

    def make(self, job: Job) -> Made:
        """Do a job, as `Recipe` describes. Image and labels become smaller if both sides are long."""
        if job.labels is None:
            raise InputError(f"{job.name} has no original label map")
        image, colours = _read(job.image, job.labels)
        numbers = colours[..., 0].astype(np.int32) // 10 * 256 + colours[..., 1]
        size = new_size(*image.shape[:2])
        if size is not None:
            height, width = size
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
            numbers = cv2.resize(numbers, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.int32)
        return Made(_class_of_number()[numbers], image)


def new_size(height: int, width: int) -> tuple[int, int] | None:
    """Return the height and width that an image is resized to, in pixels; None if it keeps its own."""
    shorter = min(height, width)
    if shorter <= _SHORTER_SIDE:
        return None
    scale = lambda side: _SHORTER_SIDE if side == shorter else round(side / shorter * _SHORTER_SIDE)
    return scale(height), scale(width)


@cache
def _class_of_number() -> NDArray[np.int64]:
    """Class or ignored label by number in the original label maps."""
    table = np.full(_MAX_ID + 1, ADE20K_847[0].ignore_label, dtype=np.int64)
    numbers = json.loads(_LABEL_IDS.read_text(encoding="utf-8"))
    table[numbers] = range(len(numbers))
    return table


def _read(image_path: Path, colours_path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read an image and its mask of colours, both (H, W, 3), with the rows and columns that the mask is drawn on.

    These are the stored ones where both would fit, as in the authors' preparation, which turns nothing.
    """
    colours = read_file(colours_path, _colours)
    image = read_image(image_path, upright=False)
    if image.shape != colours.shape:
        image = read_image(image_path)
    if image.shape != colours.shape:
        raise InputError(f"{colours_path} must have the size of the image {image.shape[:2]}, got {colours.shape[:2]}")
    return image, colours


def _colours(image: Image.Image) -> NDArray[np.uint8]:
    if image.format != "PNG" or image.mode not in ("RGB", "RGBA", "P"):
        raise UnsuitableImageError(f"expected a PNG file of colours, got {image.format} of mode {image.mode}")
    return np.array(image.convert("RGB"))  # which of RGBA drops the opacity


def _validation_images(path: Path) -> list[tuple[str, str]]:
    """Read folder and name of the validation images from the index.

    Raises:
        FileNotFoundError: if the index is missing.
        ValueError: if it is damaged, or does not hold what it should.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the file {path} is missing")
    index = load_pickle(path)
    try:
        rows = [(str(folder), str(file)) for folder, file in zip(index["folder"], index["filename"], strict=True)]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f'{path} must hold "folder" and "filename", lists of the same length: {error!r}') from error
    wrong = [row for row in rows if not _is_inside(*row)]
    if wrong:
        raise InputError(f"{path} names a file that is no .jpg below the data sets: {'/'.join(wrong[0])[:200]!r}")
    return [(folder, file[: -len(".jpg")]) for folder, file in rows if file.split("_")[1:2] == ["val"]]


def _is_inside(folder: str, file: str) -> bool:
    parts = PurePosixPath(folder)
    return is_file_name(file) and file.lower().endswith(".jpg") and not parts.is_absolute() and ".." not in parts.parts
