"""Which images the command line means, and what their results are called."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SYSTEM_FILES = {"Thumbs.db", "desktop.ini"}
_NAMED = 3  # files of one reason that a message names


@dataclass(frozen=True)
class InputImage:
    """One image to segment.

    Attributes:
        path: the file.
        name: what its results are called: a path relative to the output folder, without suffix.
    """

    path: Path
    name: str


def find_images(inputs: Sequence[str], output: Path, *, recursive: bool) -> tuple[list[InputImage], dict[str, str]]:
    """Expand files, folders and glob patterns into images.

    Results keep the path relative to the folder that was given; for a file, its own folder; for a pattern, the folder
    in front of the first wildcard; for several inputs, the deepest folder that holds all of these. Images of one
    folder that differ in the suffix alone keep it in their names.

    Args:
        inputs: as typed. Of folders and patterns, the files with an image's suffix that are not hidden are taken; a
            file that is named itself is taken whatever its suffix.
        output: where results go. What lies in it is not taken from a folder that holds it.
        recursive: whether to go into the subfolders of folders.

    Returns:
        The images, each once, in order of the inputs and by name within; and, by path, why other visible files and
        folders are left out.

    Raises:
        FileNotFoundError: if an input does not exist or a pattern matches nothing.
        ValueError: if there is no image, or if `output` is itself a folder that images are taken from.
        OSError: if a folder cannot be listed.
    """
    target = output.resolve()
    bases: list[Path] = []
    paths: list[Path] = []
    left_out: dict[str, str] = {}
    for word in inputs:
        base, found, others = _expand(word, target, recursive)
        bases.append(base)
        paths.extend(found)
        left_out.update(others)
    if not paths:
        hint = "" if recursive else "; --recursive looks into subfolders too"
        found_instead = f": {describe_left_out(left_out)}" if left_out else ""
        raise ValueError(f"no images in {', '.join(inputs)}{hint}{found_instead}")
    unique = list(dict.fromkeys(paths))
    root = os.path.commonpath(bases)
    relative = [path.relative_to(root).as_posix() for path in unique]
    images = [InputImage(path, name) for path, name in zip(unique, _result_names(relative), strict=True)]
    return images, {path: reason for path, reason in left_out.items() if Path(path) not in unique}


def describe_left_out(left_out: Mapping[str, str]) -> str:
    """Say in one line what `find_images` left out and why, the first few of each reason by name."""
    names: dict[str, list[str]] = {}
    for path, reason in left_out.items():
        names.setdefault(reason, []).append(Path(path).name)
    parts = [f"{', '.join(found[:_NAMED])}{', ...' * (len(found) > _NAMED)} ({why})" for why, found in names.items()]
    return f"{len(left_out)} {'is' if len(left_out) == 1 else 'are'} left out: {'; '.join(parts)}"


def _reason(path: Path) -> str:
    """Tell why something in a folder is not taken; "" for an image."""
    from catseg.image_files import image_suffixes, why_unreadable  # takes seconds, which a wrong path does not wait for

    if path.is_dir():
        return "a link to a folder: name it as an input" if path.is_symlink() else "a folder: --recursive looks into it"
    if path.suffix.lower() in image_suffixes():
        return ""
    return why_unreadable(path) or "no image, by its suffix"


def _expand(word: str, target: Path, recursive: bool) -> tuple[Path, list[Path], dict[str, str]]:
    """Return the folder that names are relative to, the images, and why other files are none, all absolute."""
    path = Path(word).expanduser()
    if path.is_dir():
        base = path.resolve()
        return base, *_sort_out(_visible(_walk(base, recursive), base, target))
    if os.path.lexists(path):
        base = path.parent.resolve()
        return base, [base / path.name], {}
    if not glob.has_magic(word):
        raise FileNotFoundError(f"no file or folder {word}")
    plain = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
    base = Path(*path.parts[:plain]).resolve()
    matches = sorted(base.glob(str(Path(*path.parts[plain:]))))
    if not matches:
        raise FileNotFoundError(f"nothing matches {word}")
    return base, *_sort_out(_visible(matches, base, target))


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    """Iterate over the files below a folder, and over the folders that are not gone into."""
    for parent, folders, files in os.walk(folder, onerror=_raise):
        entered = [name for name in folders if recursive and not Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in sorted({*files, *folders} - {*entered}))
        folders[:] = sorted(name for name in entered if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _visible(paths: Iterable[Path], base: Path, target: Path) -> list[Path]:
    """Leave out hidden files, those of operating systems, and results of an earlier run."""
    if target == base:
        raise ValueError(f"the output folder {target} is where the images come from: choose another one")
    skipped = target if target.is_relative_to(base) else None
    visible = (path for path in paths if not path.name.startswith(".") and path.name not in _SYSTEM_FILES)
    return [path for path in visible if not (skipped and path.is_relative_to(skipped))]


def _sort_out(paths: Iterable[Path]) -> tuple[list[Path], dict[str, str]]:
    reasons = {path: _reason(path) for path in paths}
    return [path for path, why in reasons.items() if not why], {str(path): why for path, why in reasons.items() if why}


def _result_names(relative: Sequence[str]) -> list[str]:
    """Drop the suffixes, except where two names would become one."""
    names = [Path(name).with_suffix("").as_posix() for name in relative]
    while clashing := {name for name, count in Counter(names).items() if count > 1}:
        names = [full if name in clashing else name for name, full in zip(names, relative, strict=True)]
    return names
