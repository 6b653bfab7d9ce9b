"""Images and label maps that belong together by name."""

import logging
import os
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

from catseg.errors import InputError
from catseg.image_files import image_suffixes
from catseg.label_io import label_suffixes

logger = logging.getLogger(__name__)

_MAX_LISTED = 10  # file names that an error message lists


def paired_files(
    image_dir: Path, image_extension: str, label_dir: Path, label_extension: str, *, more_images: bool = False
) -> list[tuple[Path, Path]]:
    """List the images and label maps that have a name in common, which must be all.

    Args:
        image_dir: folder of the images.
        image_extension: of the images, without the dot; other files are ignored, hidden ones too.
        label_dir: folder of the label maps.
        label_extension: of the label maps, likewise.
        more_images: whether images may be without label map; they are not listed.

    Returns:
        Each image with its label map, sorted by name; at least one.

    Raises:
        FileNotFoundError: if a folder is missing or has no such files, or an image has no label map (without
            `more_images`) or the reverse.
        ValueError: if two files of a folder have one name.
    """
    images, labels = files_by_name(image_dir, image_extension), files_by_name(label_dir, label_extension)
    _check_pairs(images.keys() & labels.keys() if more_images else images, labels, image_dir, label_dir)
    return [(images[name], path) for name, path in sorted(labels.items())]


def files_by_name(folder: Path, extension: str) -> dict[str, Path]:
    """Return the files that have an extension, in any case, by their names without it; hidden ones apart.

    Raises:
        FileNotFoundError: if the folder is missing or has none, or one is a link to nothing.
        ValueError: if two have one name.
    """
    files = _by_name(folder, {f".{extension}".lower()})
    if not files:
        raise FileNotFoundError(f"the folder {folder} has no .{extension} files")
    return files


def load_pairs(
    label_dir: str | Path, image_dir: str | Path, label_extension: str = "", image_extension: str = ""
) -> list[dict[str, str]]:
    """List the images and label maps of two folders as records: as Detectron2's `load_sem_seg`, but losing none.

    Hidden files and subfolders are not looked at. A warning names the other files that are left out.

    Args:
        label_dir: folder of the label maps.
        image_dir: folder of the images, which are named as their label maps but for the suffix.
        label_extension: of the label maps, in any case, without the dot; "" for all formats of label maps.
        image_extension: of the images, likewise; "" for all formats that can be read.

    Returns:
        Records with "file_name" and "sem_seg_file_name", sorted by name; at least one.

    Raises:
        FileNotFoundError: if a folder is missing, an image has no label map or the reverse, or there are none.
        ValueError: if two files of a folder have one name.
    """
    found = []
    for folder, extension, all_suffixes in (
        (Path(image_dir).expanduser(), image_extension, image_suffixes()),
        (Path(label_dir).expanduser(), label_extension, label_suffixes()),
    ):
        suffixes = {f".{extension.removeprefix('.').lower()}"} if extension else all_suffixes
        files = _by_name(folder, suffixes)
        if not files:
            raise FileNotFoundError(f"the folder {folder} has no {f'.{extension} ' if extension else 'image '}files")
        others = [path.name for path in _visible(folder) if path.suffix.lower() not in suffixes and path.is_file()]
        if others and Path(image_dir) != Path(label_dir):
            logger.warning("%d files in %s are left out: %s", len(others), folder, listed(others))
        found.append(files)
    images, labels = found
    _check_pairs(images, labels, image_dir, label_dir)
    return [{"file_name": str(path), "sem_seg_file_name": str(labels[name])} for name, path in sorted(images.items())]


def _check_pairs(
    images: Collection[str], labels: Collection[str], image_dir: str | Path, label_dir: str | Path
) -> None:
    problems = []
    for missing, kind, folder in (
        (set(images) - set(labels), "label map for {} images", image_dir),
        (set(labels) - set(images), "image for {} label maps", label_dir),
    ):
        if missing:
            problems.append(f"there is no {kind.format(len(missing))} of {folder}: {listed(missing)}")
    if problems:
        raise FileNotFoundError("; ".join(problems))


def _by_name(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """Return the files that have a suffix, in lower case here, by their names without it."""
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {folder} is missing")
    files: dict[str, Path] = {}
    for path in _visible(folder):
        if path.suffix.lower() not in suffixes:
            continue
        if path.stem in files:
            raise InputError(f"the folder {folder} has both {files[path.stem].name} and {path.name}: remove one")
        files[path.stem] = path
    exists = exists_by_folder()
    broken = [path.name for path in files.values() if not exists(path)]
    if broken:
        raise FileNotFoundError(f"{len(broken)} links in {folder} lead to no file: {listed(broken)}")
    return files


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def exists_by_folder() -> Callable[[Path], bool]:
    """Return a function that tells whether files exist, by listing each folder once; links are followed."""

    @cache
    def contents(folder: Path) -> set[str]:
        if not folder.is_dir():
            return set()
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.is_symlink() or Path(entry.path).exists()}

    return lambda path: path.name in contents(path.parent) or path.exists()  # disks may know no case


def found_by_folder() -> Callable[[Path], Path | None]:
    """Return a function that finds files whose suffix may be in another case, by listing each folder once."""
    exists = exists_by_folder()

    @cache
    def contents(folder: Path) -> dict[tuple[str, str], Path]:
        return {(path.stem, path.suffix.lower()): path for path in sorted(folder.iterdir())} if folder.is_dir() else {}

    def find(path: Path) -> Path | None:
        if exists(path):
            return path
        other = contents(path.parent).get((path.stem, path.suffix.lower()))
        return other if other is not None and exists(other) else None

    return find


def listed(names: Collection[str]) -> str:
    """Return the first ten names in alphabetical order, separated by commas."""
    return ", ".join(sorted(names)[:_MAX_LISTED]) + (", ..." if len(names) > _MAX_LISTED else "")
