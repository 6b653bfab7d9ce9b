"""Images and label maps that belong together by name."""

import os
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

from catseg.errors import InputError

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
    problems = []
    for missing, kind, folder in (
        (set() if more_images else images.keys() - labels, "label map for {} images", image_dir),
        (labels.keys() - images, "image for {} label maps", label_dir),
    ):
        if missing:
            problems.append(f"there is no {kind.format(len(missing))} of {folder}: {listed(missing)}")
    if problems:
        raise FileNotFoundError("; ".join(problems))
    return [(images[name], path) for name, path in sorted(labels.items())]


def files_by_name(folder: Path, extension: str) -> dict[str, Path]:
    """Return the files that have an extension, in any case, by their names without it; hidden ones apart.

    Raises:
        FileNotFoundError: if the folder is missing or has none, or one is a link to nothing.
        ValueError: if two have one name.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {folder} is missing")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != f".{extension}".lower() or path.name.startswith("."):
            continue
        if path.stem in files:
            raise InputError(f"the folder {folder} has both {files[path.stem].name} and {path.name}: remove one")
        files[path.stem] = path
    if not files:
        raise FileNotFoundError(f"the folder {folder} has no .{extension} files")
    exists = exists_by_folder()
    broken = [path.name for path in files.values() if not exists(path)]
    if broken:
        raise FileNotFoundError(f"{len(broken)} links in {folder} lead to no file: {listed(broken)}")
    return files


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
