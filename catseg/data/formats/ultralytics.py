"""Ultralytics' layout for semantic segmentation: a YAML file with `path`, `train`, `val` and `names`.

Labels are masks in the folder `masks_dir`, whose path is the image's with "images" replaced, or, without `masks_dir`,
polygons in `labels/*.txt`: class number and corners relative to the upright image, smaller shapes on top of larger
ones. Ultralytics adds the class "background" for what is in no polygon, and so does this reader. `label_mapping` turns
the values of masks into class numbers; values that it does not name stay as they are, and 255 is ignored.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseg.data.formats.classes import Classes, decide_classes, ignored_names
from catseg.data.formats.dataset import Geometry, Labels, OwnDataset, OwnSample
from catseg.data.formats.files import by_split, how_many, images_below, images_in, label_map_finder, portable, read_text
from catseg.data.formats.label_files import IndexLabels
from catseg.data.formats.names import numbers_of, read_yaml
from catseg.data.formats.shapes import as_bytes, paint, polygon_mask
from catseg.errors import InputError

_SPLITS = ("train", "val", "test")
_IGNORED_VALUE = 255
_TOLERANCE = 1.0  # how far corners may lie outside the image, in sizes of it, before they must be pixels


@dataclass(frozen=True)
class PolygonFile:
    """Polygons of a text file; one that does not exist holds none.

    Attributes:
        file: rows of a class number and x, y of each corner, relative to the image.
        index: class or ignored label of each class number.
        rest: label of the pixels outside all polygons.
    """

    file: Path
    index: Mapping[int, int]
    rest: int

    is_label_map = False

    def read(self, image: Geometry) -> NDArray[np.int64]:
        """Make the label map, see `Labels`."""
        height, width = image.upright
        shapes = [
            (label, polygon_mask([(x * width, y * height) for x, y in corners], image.upright))
            for label, corners in self._polygons()
        ]
        return paint(shapes, image.upright, self.rest, smaller_on_top=True)

    def content(self) -> bytes:
        """Return the text and what its numbers mean."""
        text = self.file.read_bytes() if self.file.exists() else b""
        return as_bytes(sorted(self.index.items()), self.rest) + text

    def _polygons(self) -> list[tuple[int, list[tuple[float, float]]]]:
        if not self.file.exists():
            return []
        found = []
        for number, line in enumerate(read_text(self.file).splitlines(), 1):
            if line.strip():
                found.append(self._polygon(line.split(), f"line {number} of {self.file}"))
        return found

    def _polygon(self, words: Sequence[str], where: str) -> tuple[int, list[tuple[float, float]]]:
        try:
            number, *values = [float(word) for word in words]
        except ValueError as error:
            raise InputError(f"{where} must hold numbers, a class and the corners of a polygon: {error}") from error
        if len(values) == 4:
            raise InputError(
                f"{where} is a box, as for detection: segmentation needs polygons of three corners or more"
            )
        if len(values) < 6 or len(values) % 2:
            raise InputError(
                f"{where} must hold a class and x, y of three corners or more, got {len(values)} coordinates"
            )
        if int(number) != number or int(number) not in self.index:
            raise InputError(f"{where} has the class {words[0]}, but there are only {', '.join(map(str, self.index))}")
        if not all(-_TOLERANCE <= value <= 1 + _TOLERANCE for value in values):
            raise InputError(
                f"{where} has corners outside 0..1: they must be relative to width and height of the image"
            )
        return self.index[int(number)], list(zip(values[::2], values[1::2], strict=True))


def looks_like(content: Any) -> bool:
    """Tell whether the content of a YAML file is of such a data set."""
    return isinstance(content, Mapping) and "names" in content and ("train" in content or "val" in content)


def read(path: Path, unlabelled: str | None) -> OwnDataset:
    """Read a data set.

    Args:
        path: the YAML file.
        unlabelled: see `catseg.data.formats`.

    Raises:
        OSError: if a file or folder cannot be read.
        ValueError: if the YAML file is not as described.
    """
    config = read_yaml(path)
    if not looks_like(config):
        raise InputError(f'{path} must have the keys "names" and "train" or "val", as Ultralytics reads them')
    unlabelled = config.get("unlabelled", unlabelled) if unlabelled is None else unlabelled
    names = numbers_of(config["names"], f"{path}, names")
    root = _root(path, config)
    images, warnings = _images_of_splits(root, config, path)
    masks_dir, notes = _masks_dir(config, [image for _, image in images], path)
    classes = decide_classes(names, unlabelled, origin=f"names of {path}", rest=None if masks_dir else "background")
    labels_of = _label_source(config, masks_dir, classes)
    found = [(split, image, labels_of(image)) for split, image in images]
    samples = [(split, OwnSample(_name(image, root), image, labels)) for split, image, labels in found if labels]
    missing = [str(image) for _, image, labels in found if labels is None or not labels.file.exists()]
    problems: list[str] = []
    if "nc" in config and config["nc"] != len(names):
        warnings.append(f"{path} gives nc as {config['nc']}, but names has {len(names)}, which decide")
    if unused := _unused({labels.file for _, _, labels in found if labels}, masks_dir is None):
        kind = "label file has no image and is left out", "label files have no image and are left out"
        warnings.append(how_many(unused, *kind))
    if missing and masks_dir:
        kind = f"image has no mask in {masks_dir}", f"images have no mask in {masks_dir}"
        problems.append(how_many(missing, *kind))
    elif missing:
        kind = "image has no text file, and so no object", "images have no text file, and so no object"
        (problems if len(missing) == len(images) else warnings).append(how_many(missing, *kind))
    if ignored := ignored_names(names, classes):
        notes.append(f"ignored classes: {', '.join(ignored)}")
    return OwnDataset(
        path=path,
        format="ultralytics",
        vocabulary=classes.vocabulary,
        ignore_label=classes.ignore_label,
        unlabelled=classes.statement,
        splits=by_split(samples),
        notes=tuple(notes),
        warnings=tuple(warnings),
        problems=tuple(problems),
    )


def _masks_dir(config: Mapping[str, Any], images: Sequence[Path], path: Path) -> tuple[str | None, list[str]]:
    """Return the folder of the masks, None for polygons, and a note if the YAML file does not decide it."""
    if config.get("masks_dir"):
        return str(config["masks_dir"]), []
    if any(_beside(image, "labels") for image in images):
        return None, []
    if any(_beside(image, "masks") for image in images):
        return "masks", ["masks_dir is not set and there are no polygons: masks are taken from the folder masks"]
    raise InputError(
        f"{path} has neither polygons nor masks: there is no folder labels or masks for {images[0].parent}; "
        "masks are in the folder that masks_dir names"
    )


def _root(path: Path, config: Mapping[str, Any]) -> Path:
    """Find the folder of the data set.

    `path` of the YAML file starts in the file's folder or in that of all data sets. One of another machine does not
    matter if the images are in the file's folder.
    """
    stated = config.get("path")
    if not stated:
        return path.parent
    wanted = Path(portable(str(stated))).expanduser()
    if wanted == Path(path.parent.name):  # the file moved into the data set, which is where tools put it
        return path.parent
    tried = [path.parent / wanted, Path(os.environ.get("DETECTRON2_DATASETS") or "datasets") / wanted]
    for folder in tried:
        if folder.is_dir():
            return folder
    entries = [config.get(split) for split in _SPLITS]
    if any(isinstance(entry, str) and entry and (path.parent / entry).exists() for entry in entries):
        return path.parent
    raise FileNotFoundError(f"{path} has the path {stated}, but there is no folder {' or '.join(map(str, tried))}")


def _images_of_splits(root: Path, config: Mapping[str, Any], path: Path) -> tuple[list[tuple[str, Path]], list[str]]:
    """List the images of all splits; and warn of a test split that is not there, as exports without one name it."""
    found, warnings = [], []
    for split in (split for split in _SPLITS if config.get(split)):
        try:
            found += [(split, image) for image in _images(root, config[split], f"{split} of {path}")]
        except FileNotFoundError as error:
            if split != "test":
                raise
            warnings.append(f"{error}: the split is left out")
    return found, warnings


def _images(root: Path, stated: Any, where: str) -> list[Path]:
    """List the images of a split: of a folder, of a text file that lists them, or of several of these."""
    found = []
    for entry in [portable(str(entry)) for entry in (stated if isinstance(stated, list) else [stated])]:
        place = root / entry
        if not place.exists() and entry.parts[:1] == ("..",):  # Roboflow writes ../train/images
            place = root / Path(*entry.parts[1:])
        if place.is_dir():
            found += images_below(place)
        elif place.is_file():
            lines = [line.strip().replace("\\", "/") for line in read_text(place).splitlines() if line.strip()]
            found += [place.parent / line if line.startswith("./") else root / line for line in lines]
        else:
            raise FileNotFoundError(f"{where}: there is no folder or list of images {place}")
    if not found:
        raise FileNotFoundError(f"{where}: there are no images in {stated}")
    return list(dict.fromkeys(found))


def _replaced(image: Path, folder: str) -> Path | None:
    """Return the image's path with the last folder "images" replaced; None if it has none."""
    parts = list(image.parts)
    places = [place for place, part in enumerate(parts[:-1]) if part.casefold() == "images"]
    if not places:
        return None
    parts[places[-1]] = folder
    return Path(*parts)


def _beside(image: Path, folder: str) -> bool:
    other = _replaced(image, folder)
    return other is not None and other.parent.is_dir()


def _unused(used: Collection[Path], texts: bool) -> list[str]:
    """List the label files without image in the folders of those with one."""
    files = [
        path
        for folder in sorted({path.parent for path in used if path.parent.is_dir()})
        for path in (sorted(folder.glob("*.txt")) if texts else images_in(folder))
    ]
    return [str(path) for path in files if path not in used and path.name != "classes.txt"]


def _label_source(
    config: Mapping[str, Any], masks_dir: str | None, classes: Classes
) -> Callable[[Path], Labels | None]:
    """Return a function that finds the labels of an image; None if it has no mask."""
    if masks_dir is None:
        return lambda image: PolygonFile(
            (_replaced(image, "labels") or image).with_suffix(".txt"), classes.index, classes.rest
        )
    table, mask_of = _table(config.get("label_mapping") or {}, classes), label_map_finder()

    def mask(image: Path) -> Labels | None:
        place = _replaced(image, masks_dir)
        file = None if place is None else mask_of(place)
        return None if file is None else IndexLabels(file, table)

    return mask


def _table(mapping: Mapping[Any, Any], classes: Classes) -> dict[int, int]:
    table = {**classes.index, _IGNORED_VALUE: classes.ignore_label}
    for value, target in mapping.items():
        if re.fullmatch(r"-?\d+", str(value)) is None:
            raise InputError(f"label_mapping must have values of masks, whole numbers, got {value!r}")
        if target == "ignore_label" or target == _IGNORED_VALUE:
            table[int(value)] = classes.ignore_label
        elif isinstance(target, int) and target in classes.index:
            table[int(value)] = classes.index[target]
        else:
            raise InputError(f"label_mapping gives {value} the class {target!r}, which names does not have")
    return table


def _name(image: Path, root: Path) -> str:
    inside = image.relative_to(root) if image.is_relative_to(root) else Path(image.name)
    return inside.with_suffix("").as_posix()
