"""Files of a data set: images, texts and JSON as tools of all systems write them."""

import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from catseg.data.formats.dataset import OwnSample
from catseg.data.pairs import listed
from catseg.errors import InputError
from catseg.image_files import image_suffixes

LABEL_SUFFIXES = (
    ".png",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".pgm",
    ".tga",
)  # keep numbers; others are refused in reading
_SNIFFED = 1 << 16  # bytes at either end of a file
_SPLITS = {"train": ("train",), "val": ("val", "dev"), "test": ("test",)}


def read_text(path: Path) -> str:
    """Read a text file, UTF-8 with or without a byte order mark, or UTF-16 with one.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is no such text.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8: {error.reason} at byte {error.start}") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is no JSON.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error


def mentions(path: Path, *keys: str) -> bool:
    """Tell whether a JSON file is an object whose beginning or end has one of some keys, which is all that is read."""
    with path.open("rb") as file:
        ends = file.read(_SNIFFED)
        if not re.match(rb"(\xef\xbb\xbf)?\s*\{", ends):
            return False
        if path.stat().st_size > 2 * _SNIFFED:
            file.seek(-_SNIFFED, os.SEEK_END)
        ends += file.read()
    return any(re.search(rf'"{key}"\s*:'.encode(), ends) for key in keys)


def files_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """List the files in a folder and those below it that have one of the suffixes, in any case; hidden ones apart.

    Links to folders are followed, but each folder is looked into once, since links may lead round in a circle.
    """
    wanted, seen = set(suffixes), set()
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        place = Path(parent).resolve()
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        found += [Path(parent, name) for name in names if not _is_hidden(name) and _suffix(name) in wanted]
    return sorted(found)


def images_below(folder: Path) -> list[Path]:
    """List the images in a folder and below it."""
    return files_below(folder, image_suffixes())


def images_in(folder: Path) -> list[Path]:
    """List the images in a folder, but not those below it."""
    return [
        path
        for path in sorted(folder.iterdir())
        if _suffix(path.name) in image_suffixes() and not _is_hidden(path.name)
    ]


def image_by_name(root: Path) -> Callable[[str], Path | None]:
    """Return a function that finds the image of a name in a folder or below it; None if there is none, or several."""

    @cache
    def by_name() -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in images_below(root):
            found.setdefault(composed(path.name), []).append(path)
        return found

    def find(name: str) -> Path | None:
        named = by_name().get(composed(name), [])
        return named[0] if len(named) == 1 else None

    return find


def subfolder(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the folder in `folder` that has the first of some names, in any case, that there is; None if none."""
    present = {path.name.casefold(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    return next((present[name.casefold()] for name in names if name.casefold() in present), None)


def label_map_finder() -> Callable[[Path], Path | None]:
    """Return a function that finds the label map with the folder and the stem of a path, whatever its suffix.

    Formats that keep numbers go before others. Each folder is listed once.
    """

    @cache
    def by_stem(folder: Path) -> dict[str, Path]:
        suffixes = [*LABEL_SUFFIXES, *sorted(image_suffixes() - set(LABEL_SUFFIXES))]
        rank = {suffix: place for place, suffix in enumerate(suffixes)}
        files = [path for path in sorted(folder.iterdir()) if _suffix(path.name) in rank] if folder.is_dir() else []
        return {composed(path.stem): path for path in sorted(files, key=lambda path: -rank[_suffix(path.name)])}

    return lambda path: by_stem(path.parent).get(composed(path.stem))


def keyed(files: Iterable[Path], folder: Path) -> dict[str, Path]:
    """Return files by their path below `folder`, without suffix, "/" between folders.

    Raises:
        ValueError: if two have the same.
    """
    found: dict[str, Path] = {}
    for path in files:
        key = composed(path.relative_to(folder).with_suffix("").as_posix())
        if key in found:
            raise InputError(
                f"{folder} has both {found[key].name} and {path.name}, which differ in their suffix: remove one"
            )
        found[key] = path
    return found


def composed(name: str) -> str:
    """Return a name as most systems write it: archives made on a Mac have umlauts as letters with an accent each."""
    return unicodedata.normalize("NFC", name)


def portable(name: str) -> PurePosixPath:
    """Return a path that a file holds, of whatever system it is, with "/" between folders."""
    return PurePosixPath(PureWindowsPath(name).as_posix()) if "\\" in name else PurePosixPath(name)


def split_of(name: str) -> str | None:
    """Return the split that a file or folder is named after: "train", "val" or "test"; None if it is none."""
    words = re.split(r"[\W_\d]+", name.casefold())
    if "trainval" in words:
        return None
    return next((split for split, starts in _SPLITS.items() if any(word.startswith(starts) for word in words)), None)


def by_split(samples: Iterable[tuple[str | None, OwnSample]]) -> dict[str, tuple[OwnSample, ...]]:
    """Group samples by split, train first; those without are for training."""
    groups: dict[str, list[OwnSample]] = {}
    for split, sample in samples:
        groups.setdefault(split or "train", []).append(sample)
    order = [*(split for split in _SPLITS if split in groups), *sorted(groups.keys() - _SPLITS.keys())]
    return {split: tuple(sorted(groups[split], key=lambda sample: sample.name)) for split in order}


def how_many(names: Sequence[str], one: str, several: str) -> str:
    """Return "1 image has no mask: a" or "2 images have no mask: a, b"; `several` begins with the plural's verb."""
    return f"{len(names)} {one if len(names) == 1 else several}: {listed(names)}"


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (a path object for each of many files takes long)


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))
