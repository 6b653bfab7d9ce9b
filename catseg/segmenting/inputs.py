"""Which images the command line means, and what their results are called."""

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from catseg.errors import InputError
from catseg.file_names import result_names
from catseg.image_files import VIDEO_SUFFIXES, image_suffixes, why_unreadable

_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini"}  # of file managers, as are names with "._" on macOS
_SUBFOLDER, _LOOP = "a folder: --recursive goes into it", "a link to a folder that holds this one"
_NAMED = 3  # files of one reason that a message names


@dataclass(frozen=True)
class InputImage:
    """One image, or video, to segment.

    Attributes:
        path: the file.
        name: what its results are called: a path relative to the output folder, without suffix.
        content: that of the file, if it is none on disk.
        is_video: whether it is a video or camera.
        address: where the content comes from, such as s3://BUCKET/KEY; "" for the path.
        state: changes with the image; None for what file or content tell.
    """

    path: Path
    name: str
    content: bytes | None = None
    is_video: bool = False
    address: str = ""
    state: str | None = None

    @property
    def input(self) -> str:
        """What records call it."""
        return self.address or str(self.path)


def find_images(
    inputs: Sequence[str], output: Path, *, recursive: bool, videos: bool = False
) -> tuple[list[InputImage], dict[str, str]]:
    """Expand files, folders and glob patterns into images.

    Results keep the path relative to the folder that was given; for a file, its own folder; for a pattern, the folder
    in front of the first wildcard; for several inputs, the deepest folder that holds all of these. Images of one
    folder that differ in the suffix alone keep it in their names.

    Args:
        inputs: as typed. A file is taken whatever its name. Of folders and patterns, the files with an image's suffix
            that are not hidden are taken; other files are left out, those of file managers without a word. Links to
            files and folders are followed, but no folder is entered twice.
        output: where results go. What lies in it is not taken from a folder that holds it.
        recursive: whether to go into the subfolders of folders; hidden ones apart.
        videos: whether to take videos, too.

    Returns:
        The images, each once, in order of the inputs and by name within; and, by path, why other files and folders are
        left out.

    Raises:
        FileNotFoundError: if an input does not exist or a pattern matches nothing.
        ValueError: if there is no image, or if `output` is itself a folder that images are taken from.
        OSError: if a folder cannot be listed.
    """
    search = _Search(output.resolve(), recursive, VIDEO_SUFFIXES if videos else frozenset())
    bases = [search.expand(word) for word in inputs]
    images = list(dict.fromkeys(search.images))
    left_out = {str(path): reason for path, reason in search.left_out.items() if path not in images}
    if not images:
        instead = f": {describe_left_out(left_out)}" if left_out else ""
        raise InputError(f"no images in {', '.join(inputs)}{instead}")
    names = result_names(images, os.path.commonpath(bases))
    found = [
        InputImage(path, name, is_video=path.suffix.lower() in search.videos)
        for path, name in zip(images, names, strict=True)
    ]
    return found, left_out


def describe_left_out(left_out: Mapping[str, str]) -> str:
    """Say in one line what `find_images` left out and why, the first few of each reason by name."""
    names: dict[str, list[str]] = {}
    for path, reason in left_out.items():
        names.setdefault(reason, []).append(Path(path).name)
    parts = [f"{', '.join(found[:_NAMED])}{', ...' * (len(found) > _NAMED)} ({why})" for why, found in names.items()]
    kind = "files or folders were" if {_SUBFOLDER, _LOOP} & names.keys() else "files were"
    number = (
        f"{len(left_out)} {kind}" if len(left_out) > 1 else "1 file was" if kind == "files were" else "1 folder was"
    )
    return f"{number} left out: {'; '.join(parts)}"


@dataclass
class _Search:
    """Collects what inputs mean; all paths are absolute.

    Attributes:
        target: the output folder, resolved.
        recursive: whether to go into subfolders.
        videos: the suffixes of videos that are taken.
        images: the files that are taken.
        left_out: why others are not.
    """

    target: Path
    recursive: bool
    videos: frozenset[str]
    images: list[Path] = field(default_factory=list)
    left_out: dict[Path, str] = field(default_factory=dict)

    def expand(self, word: str) -> Path:
        """Collect what one input means, and return the folder that its names are relative to."""
        path = Path(word).expanduser()
        if path.is_dir():
            base = path.resolve()
            self._check_is_no_output(base)
            self._sort_out(self._files_below(base))
            return base
        if os.path.lexists(path):
            base = path.parent.resolve()
            self.images.append(base / path.name)
            return base
        if not glob.has_magic(word):
            raise FileNotFoundError(f"no file or folder {word}")
        base, pattern = _split_pattern(path)
        matches = sorted(base.glob(pattern))
        if not matches:
            raise FileNotFoundError(f"nothing matches {word}")
        self._check_is_no_output(base)
        results = self.target if self.target.is_relative_to(base) else None
        self._sort_out(
            match for match in matches if not match.is_dir() and not (results and match.is_relative_to(results))
        )
        return base

    def _check_is_no_output(self, base: Path) -> None:
        if self.target == base:
            raise InputError(f"the output folder {self.target} is where the images come from: choose another one")

    def _files_below(self, base: Path) -> list[Path]:
        """List a folder's files, and with `recursive` those of its subfolders and then of the folders that it links."""
        files: list[Path] = []
        waiting, entered = [base], {self.target}
        for top in waiting:  # which grows by links
            real = top.resolve()
            if base != real and base.is_relative_to(real):
                self.left_out[top] = _LOOP
                continue
            if real in entered:
                continue
            for parent, folders, names in os.walk(top, onerror=_raise):
                entered.add(Path(parent).resolve())
                files += [Path(parent, name) for name in sorted(names)]
                below = [Path(parent, name) for name in sorted(folders) if not name.startswith(".")]
                new = [folder for folder in below if folder.resolve() not in entered]
                if self.recursive:
                    waiting += [folder for folder in below if folder.is_symlink()]
                else:
                    self.left_out |= dict.fromkeys(new, _SUBFOLDER)
                folders[:] = [folder.name for folder in new if self.recursive and not folder.is_symlink()]
        return files

    def _sort_out(self, files: Iterable[Path]) -> None:
        suffixes = image_suffixes() | self.videos
        for path in files:
            hidden, image = path.name.startswith("."), path.suffix.lower() in suffixes
            if path.name.startswith("._") or path.name.lower() in _SYSTEM_FILES or (hidden and not image):
                continue
            if hidden:
                self.left_out[path] = "hidden"
            elif image:
                self.images.append(path)
            else:
                self.left_out[path] = why_unreadable(path) or "not named as an image: give a file by its own name"


def _split_pattern(path: Path) -> tuple[Path, str]:
    """Split a pattern into the folder in front of the first wildcard and the rest; folders may be named like one."""
    base = Path()
    for index, part in enumerate(path.parts):
        if glob.has_magic(part) and not (base / part).is_dir():
            return base.resolve(), str(Path(*path.parts[index:]))
        base /= part
    raise FileNotFoundError(f"no file or folder {path}")


def _raise(error: OSError) -> None:
    raise error
