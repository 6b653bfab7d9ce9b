"""Finds out of which format a data set is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catseg.data.formats import cityscapes, coco, foreign, label_images, labelme, ultralytics, voc
from catseg.data.formats.dataset import MALFORMED, OwnDataset
from catseg.data.formats.files import read_json
from catseg.data.formats.names import COLOUR_FILES, NAME_FILES, read_yaml
from catseg.errors import InputError

Reader = Callable[[str | None], OwnDataset]


@dataclass(frozen=True)
class Format:
    """A format of data sets.

    Attributes:
        name: of the format.
        wanted: what is looked for, as the message for an unknown data set says it.
        find: returns how to read what is at a path, and what it was known by; None if it is of another format.
    """

    name: str
    wanted: str
    find: Callable[[Path], tuple[str, Reader] | None]


def read_dataset(path: str | Path, *, format: str | None = None, unlabelled: str | None = None) -> OwnDataset:
    """Read a data set, without its label maps.

    Args:
        path: a file or folder, see `catseg.data.formats`; a leading ~ is the home folder.
        format: one of `FORMATS`, for folders that could be of several.
        unlabelled: what becomes of pixels that nobody labelled: None, "ignored" or the name of a class.

    Raises:
        FileNotFoundError: if there is no such file or folder, or it lacks files that it names.
        ValueError: if the format is unknown or not clear, or files are damaged or contradict one another.
    """
    place = Path(path).expanduser().absolute()
    if not place.exists():
        raise FileNotFoundError(f"no data set {path}: there is no such file or folder")
    if format is not None and format not in FORMATS:
        raise InputError(f"unknown format {format!r}: there are {', '.join(FORMATS)}")
    if place.suffix.lower() in (".zip", ".tar", ".gz", ".7z", ".rar"):
        raise InputError(f"{path} is an archive: unpack it and name the folder")
    wanted = [kind for kind in _FORMATS if format in (None, kind.name)]
    found = [(kind, *result) for kind in wanted if (result := kind.find(place)) is not None]
    if not found:
        raise InputError(f"{path} is no data set of a known format{_explained(place, wanted)}")
    if len(found) > 1:
        kinds = " and ".join(f"{kind.name} ({evidence})" for kind, evidence, _ in found)
        raise InputError(f"{path} could be {kinds}: name the file that is meant, or give the format (--data-format)")
    try:
        return found[0][2](unlabelled)
    except MALFORMED as error:
        raise InputError(f"{path} is not as the format {found[0][0].name} has it: {error!r}") from error


def _ultralytics(path: Path) -> tuple[str, Reader] | None:
    if path.is_file():
        files = [path] if path.suffix.lower() in (".yaml", ".yml") else []
    else:
        files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in (".yaml", ".yml")]
    files = [file for file in files if ultralytics.looks_like(_yaml_if_any(file))]
    if len(files) > 1:
        raise InputError(f"{path} has several such files, name one: {', '.join(file.name for file in files)}")
    return (files[0].name, lambda unlabelled: ultralytics.read(files[0], unlabelled)) if files else None


def _yaml_if_any(file: Path) -> Any:
    """Return the content of a YAML file; None if it is none, which files of other programs may be."""
    try:
        return read_yaml(file)
    except InputError:
        return None


def _coco(path: Path) -> tuple[str, Reader] | None:
    if path.is_dir():
        files, root = coco.find(path), path
    elif path.suffix.lower() == ".json" and coco.looks_like(read_json(path)):
        files, root = [path], path.parent.parent if path.parent.name == "annotations" else path.parent
    else:
        return None
    return (files[0].name, lambda unlabelled: coco.read(files, root, path, unlabelled)) if files else None


def _labelme(path: Path) -> tuple[str, Reader] | None:
    if path.is_dir():
        files, root = labelme.find(path), path
    elif path.suffix.lower() == ".json" and labelme.looks_like(read_json(path)):
        files, root = [path], path.parent
    else:
        return None
    return (files[0].name, lambda unlabelled: labelme.read(files, root, path, unlabelled)) if files else None


def _voc(path: Path, *, by_colour: bool) -> tuple[str, Reader] | None:
    home = voc.home(path) if path.is_dir() else None
    if home is None or (home / voc.LABEL_MAP).is_file() != by_colour:
        return None
    return "SegmentationClass", lambda unlabelled: voc.read(path, unlabelled)


def _cityscapes(path: Path) -> tuple[str, Reader] | None:
    if not path.is_dir() or not cityscapes.is_home(path):
        return None
    return "leftImg8bit", lambda unlabelled: cityscapes.read(path, unlabelled)


def _label_images(path: Path, *, by_colour: bool) -> tuple[str, Reader] | None:
    if not path.is_dir() or not label_images.folders(path):
        return None
    file = label_images.class_file(path, COLOUR_FILES if by_colour else NAME_FILES)
    read = label_images.read_masks if by_colour else label_images.read_indices
    return None if file is None else (file.name, lambda unlabelled: read(path, file, unlabelled))


def _explained(path: Path, wanted: Sequence[Format]) -> str:
    if hint := foreign.advice(path) or foreign.within(path, _format_of):
        return f": {hint}"
    looked_for = "; ".join(f"{kind.name}: {kind.wanted}" for kind in wanted)
    return f". It holds {_contents(path)}. Looked for: {looked_for}"


def _format_of(path: Path) -> str | None:
    try:
        return next((kind.name for kind in _FORMATS if kind.find(path) is not None), None)
    except (OSError, InputError):
        return None


def _contents(path: Path) -> str:
    if path.is_file():
        return f"a {path.suffix} file of another kind"
    names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in path.iterdir())
    return ", ".join(names[:10]) + ", ..." * (len(names) > 10) if names else "nothing"


_FORMATS = (
    Format("ultralytics", "data.yaml with the keys names and train or val", _ultralytics),
    Format("coco", "JSON files with images, annotations and categories, here or in annotations/", _coco),
    Format("labelme", "JSON files with shapes and imagePath", _labelme),
    Format("cvat", "SegmentationClass/ with labelmap.txt", lambda path: _voc(path, by_colour=True)),
    Format("voc", "JPEGImages/ and SegmentationClass/", lambda path: _voc(path, by_colour=False)),
    Format("cityscapes", "leftImg8bit/ and gtFine/", _cityscapes),
    Format(
        "label-images",
        "images/ beside labels/, masks/ or annotations/ and a list of names such as classes.txt",
        lambda path: _label_images(path, by_colour=False),
    ),
    Format(
        "colour-masks",
        "the same folders and a table of colours such as colors.csv",
        lambda path: _label_images(path, by_colour=True),
    ),
)
FORMATS = tuple(kind.name for kind in _FORMATS)
