"""Jobs that prepare a download, one per image, and checks that their inputs are there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from catseg.data.dataset_specs import DatasetSpec
from catseg.data.pairs import exists_by_folder, found_by_folder, listed
from catseg.errors import InputError
from catseg.exif import upright_size
from catseg.image_files import read_file


@dataclass(frozen=True, kw_only=True)
class Job:
    """An image whose label map is to be made.

    Attributes:
        name: of its files, without extension.
        image: the original image.
        labels: its original label map; None if `annotations` take its place.
        annotations: what else its recipe needs.
        target: the label map to make.
        image_target: the image to make, if the original is changed too.
    """

    name: str
    image: Path
    labels: Path | None
    annotations: Any = None
    target: Path
    image_target: Path | None = None

    @property
    def targets(self) -> list[Path]:
        """The files to make."""
        return [self.target] if self.image_target is None else [self.target, self.image_target]


@dataclass(frozen=True)
class Made:
    """Result of a job.

    Attributes:
        labels: class or ignored label of each pixel, (H, W).
        image: uint8, (H, W) or (H, W, 3); None if the original image is used as it is.
    """

    labels: NDArray[np.integer]
    image: NDArray[np.uint8] | None = None


class Recipe(Protocol):
    """Makes the label maps of a split; it is pickled, since jobs run in several processes."""

    def find(self, spec: DatasetSpec, root: Path) -> list[Job]:
        """List all jobs of a split.

        Args:
            spec: the split.
            root: folder of all data sets.

        Raises:
            FileNotFoundError: if a file or folder that lists them is missing.
            ValueError: if such a file is damaged.
        """

    def make(self, job: Job) -> Made | None:
        """Do a job; None leaves the image out of the data set.

        Raises:
            OSError: if a file cannot be opened.
            ValueError: if a file is damaged, or the image and its labels do not fit.
        """


def select(jobs: Sequence[Job], spec: DatasetSpec, *, subset: bool) -> tuple[list[Job], list[str]]:
    """Look for the files that jobs need.

    Args:
        jobs: all jobs of a split.
        spec: the split.
        subset: whether to leave out the jobs for which there is nothing.

    Returns:
        The jobs to do, with the names that the files have, of which the suffixes may be in another case; and a line for
        each thing that is missing.
    """
    exists, found = exists_by_folder(), found_by_folder()
    jobs = [
        replace(job, image=found(job.image) or job.image, labels=job.labels and (found(job.labels) or job.labels))
        for job in jobs
    ]
    wanted = [job for job in jobs if not subset or any(map(exists, _own_files(job, spec)))]
    problems = []
    for kind, files in (
        ("images", {job.name: job.image for job in wanted}),
        ("label maps", {job.name: job.labels for job in wanted if job.labels is not None}),
    ):
        missing = {name: path.parent for name, path in files.items() if not exists(path)}
        if missing:
            problems.append(f"{spec.split}: {len(missing)} of {len(wanted)} {kind} are missing{_where(missing)}")
    if not wanted or (len(wanted) != spec.image_count and not subset):
        problems.append(f"{spec.split}: there are {len(wanted)} images instead of {spec.image_count}")
    return wanted, problems


def check_size(job: Job, labels: NDArray[np.integer]) -> None:
    """Compare the size of a job's original image, upright or as it is stored, with that of its labels, (H, W).

    Which of the two a data set's labels are drawn on is decided where they are read, see `catseg.data.records`.

    Raises:
        OSError: if the image cannot be opened.
        ValueError: if they differ, or the image is damaged.
    """
    size, upright = read_file(job.image, lambda image: ((image.height, image.width), upright_size(image)))
    if labels.shape not in (size, upright):
        raise InputError(f"its labels have the size {labels.shape}, the image {job.image} has {upright}")


def read_names(path: Path) -> list[str]:
    """Read a list of image names, one per line.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no text, or a line holds more than a name.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the file {path} is missing")
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text: {error}") from error
    wrong = [name for name in names if not is_file_name(name)]
    if wrong:
        raise InputError(f"{path} must hold one image name per line, got {wrong[0][:80]!r}")
    return names


def is_file_name(text: str) -> bool:
    """Tell whether a text from a downloaded file names a file in a folder, and nothing elsewhere."""
    return not text.startswith(".") and not any(character in "/\\\0" or character.isspace() for character in text)


def _own_files(job: Job, spec: DatasetSpec) -> Iterable[Path]:
    """The files whose presence tells that an image belongs to what was downloaded."""
    if job.labels is not None:
        yield job.labels
    if job.labels is None or not spec.shared_images:
        yield job.image


def _where(missing: dict[str, Path]) -> str:
    folders = set(missing.values())
    if len(folders) > 1:
        return f": {listed(missing)}"
    [folder] = folders
    return f" in {folder}: {listed(missing)}" if folder.is_dir() else f", the folder {folder} is missing"
