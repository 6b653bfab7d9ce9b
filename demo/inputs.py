"""Which images the command line means, and what their results are called."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset(
    (
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".pgm",
        ".png",
        ".ppm",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    )
)


@dataclass(frozen=True)
class InputImage:
    """One image to segment.

    Attributes:
        path: the file.
        name: what its results are called: a path relative to the output folder, without suffix.
    """

    path: Path
    name: str


def find_images(inputs: Sequence[str], output: Path, *, recursive: bool) -> list[InputImage]:
    """Expand files, folders and glob patterns into images.

    Results keep the path relative to the folder that was given; for a file, its own folder; for a pattern, the folder
    in front of the first wildcard; for several inputs, the deepest folder that holds all of these. Images of one
    folder that differ in the suffix alone keep it in their names.

    Args:
        inputs: as typed. Of folders and patterns, the files with an image's suffix that are not hidden are taken; a
            file is taken whatever its name.
        output: where results go. What lies in it is not taken from a folder that holds it.
        recursive: whether to go into the subfolders of folders.

    Returns:
        The images, each once, in order of the inputs and by name within.

    Raises:
        FileNotFoundError: if an input does not exist or a pattern matches nothing.
        ValueError: if there is no image, or if `output` is itself a folder that images are taken from.
        OSError: if a folder cannot be listed.
    """
    target = output.resolve()
    bases, paths = [], []
    for word in inputs:
        base, found = _expand(word, target, recursive)
        bases.append(base)
        paths.extend(found)
    if not paths:
        hint = "" if recursive else "; --recursive looks into subfolders too"
        raise ValueError(f"no images ({', '.join(sorted(SUFFIXES))}) in {', '.join(inputs)}{hint}")
    unique = list(dict.fromkeys(paths))
    root = os.path.commonpath(bases)
    relative = [path.relative_to(root).as_posix() for path in unique]
    return [InputImage(path, name) for path, name in zip(unique, _result_names(relative), strict=True)]


def _expand(word: str, target: Path, recursive: bool) -> tuple[Path, list[Path]]:
    """Return the folder that names are relative to, and the images, both absolute."""
    path = Path(word).expanduser()
    if path.is_dir():
        base = path.resolve()
        return base, _usable(_walk(base, recursive), base, target)
    if os.path.lexists(path):
        base = path.parent.resolve()
        return base, [base / path.name]
    if not glob.has_magic(word):
        raise FileNotFoundError(f"no file or folder {word}")
    plain = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
    base = Path(*path.parts[:plain]).resolve()
    matches = sorted(base.glob(str(Path(*path.parts[plain:]))))
    if not matches:
        raise FileNotFoundError(f"nothing matches {word}")
    return base, _usable(matches, base, target)


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files))


def _raise(error: OSError) -> None:
    raise error


def _usable(paths: Iterable[Path], base: Path, target: Path) -> list[Path]:
    """Keep visible image files, but for results of an earlier run."""
    if target == base:
        raise ValueError(f"the output folder {target} is where the images come from: choose another one")
    skipped = target if target.is_relative_to(base) else None
    return [
        path
        for path in paths
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and not path.is_dir()
        and not (skipped and path.is_relative_to(skipped))
    ]


def _result_names(relative: Sequence[str]) -> list[str]:
    """Drop the suffixes, except where two names would become one."""
    names = [Path(name).with_suffix("").as_posix() for name in relative]
    while clashing := {name for name, count in Counter(names).items() if count > 1}:
        names = [full if name in clashing else name for name, full in zip(names, relative, strict=True)]
    return names
