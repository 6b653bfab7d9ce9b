"""What readers of own data return: samples of splits, and how each one's label map is made."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from catseg.errors import InputError
from catseg.exif import exif_orientation, turned_by_decoding, upright_size
from catseg.image_files import read_file
from catseg.label_io import check_label_size
from catseg.vocabulary import Vocabulary

MALFORMED = (AttributeError, IndexError, KeyError, TypeError)  # what JSON of another structure leads to
_VERSION = 1  # of what label maps are made of their sources: a change makes all of them again


@dataclass(frozen=True)
class Geometry:
    """Size of an image file.

    Attributes:
        stored: rows and columns that the file stores.
        upright: rows and columns as its EXIF orientation shows it.
        orientation: what turns stored pixels upright, see `catseg.exif.turn`.
    """

    stored: tuple[int, int]
    upright: tuple[int, int]
    orientation: int


def image_geometry(image: Path) -> Geometry:
    """Read the size of an image without decoding it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no image.
    """
    return read_file(
        image,
        lambda opened: Geometry(
            (opened.height, opened.width),
            upright_size(opened),
            exif_orientation(opened) if turned_by_decoding(opened) == 1 else 1,
        ),
    )


class Labels(Protocol):
    """The source of one label map. Sources are pickled, since they are read in several processes."""

    @property
    def file(self) -> Path:
        """The file that holds the labels, for messages."""

    @property
    def is_label_map(self) -> bool:
        """Whether `file` is a label map as `catseg.label_io.read_classes` takes it, so that none has to be made."""

    def read(self, image: Geometry) -> NDArray[np.int64]:
        """Make the label map.

        Args:
            image: size of the image.

        Returns:
            Class or ignored label of each pixel of the upright image, (H, W).

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if it is damaged, or holds something that is no class. The message lists file, value and count.
        """

    def content(self) -> bytes:
        """Return all that the label map depends on besides the image's size."""


@dataclass(frozen=True)
class OwnSample:
    """An image with the source of its label map.

    Attributes:
        name: of the image within its data set, without suffix, "/" between folders.
        image: the file.
        labels: the source of its label map.
    """

    name: str
    image: Path
    labels: Labels

    def label_map(self) -> NDArray[np.int64]:
        """Read the class or ignored label of each pixel of the upright image, (H, W).

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a file is damaged, the sizes do not fit, or a value or colour is no class.
        """
        size = image_geometry(self.image)
        try:
            labels = self.labels.read(size)
        except MALFORMED as error:
            raise InputError(f"{self.labels.file} is not as its format has it: {error!r}") from error
        check_label_size(self.labels.file, (labels.shape[0], labels.shape[1]), self.image, size.upright)
        return labels

    def fingerprint(self) -> str:
        """Return a hash of all that the label map depends on.

        Raises:
            OSError: if a file cannot be read.
            ValueError: if the image is damaged.
        """
        parts = (str(_VERSION).encode(), repr(image_geometry(self.image)).encode(), self.labels.content())
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class OwnDataset:
    """A data set as a reader found it. No label map is read yet.

    Attributes:
        path: what was asked for, absolute.
        format: one of `FORMATS`.
        vocabulary: its classes; class k is the k-th.
        ignore_label: value of the pixels without class.
        unlabelled: one sentence on what becomes of pixels that nobody labelled.
        splits: samples of each split, sorted by name; "train", "val" and "test" where the data set says so.
        notes: what was decided in reading, one sentence each.
        warnings: what may not be meant, one line each.
        problems: what would make training wrong, one line each; registration refuses a data set that has any.
    """

    path: Path
    format: str
    vocabulary: Vocabulary
    ignore_label: int
    unlabelled: str
    splits: Mapping[str, tuple[OwnSample, ...]]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def samples(self) -> list[tuple[str, OwnSample]]:
        """All samples, each with the name of its split."""
        return [(split, sample) for split, samples in self.splits.items() for sample in samples]
