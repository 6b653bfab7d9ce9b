"""labelme's JSON, one file for each image: polygons, rectangles, circles, lines, points and masks.

Shapes are drawn as labelme draws them: outlines included, lines 10 pixels wide, points with a radius of 5, later
shapes on top of earlier ones, on the upright image. Group ids tell instances apart, which semantic segmentation does
not. Images are looked for at `imagePath`, then beside the JSON file, and at last by name anywhere in the folder of the
data set; one that is not there is taken from `imageData`. Classes are those of `labels.txt` if there is one, else all
labels in the order of the alphabet; `__ignore__` is ignored.
"""

import base64
import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseg.atomic import atomic_path, cache_folder
from catseg.data.formats.classes import Name, decide_classes, ignored_names
from catseg.data.formats.dataset import MALFORMED, Geometry, OwnDataset, OwnSample
from catseg.data.formats.files import (
    by_split,
    files_below,
    how_many,
    image_by_name,
    images_below,
    mentions,
    portable,
    read_json,
    split_of,
)
from catseg.data.formats.label_images import named_file
from catseg.data.formats.names import NAME_FILES, read_numbers
from catseg.data.formats.shapes import as_bytes, canvas_of, drawn_mask, paint, polygon_mask, upright
from catseg.errors import InputError

_LINE_WIDTH = 10  # pixels
_POINT_RADIUS = 5  # pixels
_FAR = 1e6  # pixels, where no image has a corner
_CORNERS = {"circle": (2,), "rectangle": (2, 4), "line": (2,), "point": (1,), "mask": (2,)}


@dataclass(frozen=True)
class LabelmeFile:
    """The shapes of an image.

    Attributes:
        file: the JSON file.
        index: class or ignored label of each label.
        rest: label of the pixels outside all shapes.
    """

    file: Path
    index: Mapping[str, int]
    rest: int

    is_label_map = False

    def read(self, image: Geometry) -> NDArray[np.int64]:
        """Make the label map, see `Labels`."""
        content = read_json(self.file)
        height, width = content.get("imageHeight"), content.get("imageWidth")
        size, orientation = canvas_of(image, (height, width) if height and width else None, str(self.file))
        shapes = [(self.index[str(shape["label"])], shape_mask(shape, size, self.file)) for shape in content["shapes"]]
        return upright(paint(shapes, size, self.rest, smaller_on_top=False), orientation)

    def content(self) -> bytes:
        """Return the file and what its labels mean."""
        return as_bytes(sorted(self.index.items()), self.rest) + self.file.read_bytes()


def looks_like(content: Any) -> bool:
    """Tell whether the content of a JSON file is labelme's."""
    return isinstance(content, Mapping) and isinstance(content.get("shapes"), list) and "imagePath" in content


def find(folder: Path) -> list[Path]:
    """List labelme's files in a folder and below it."""
    return [path for path in files_below(folder, [".json"]) if mentions(path, "shapes")]


@dataclass(frozen=True)
class _Entry:
    """What a file says but for the shapes themselves, which may come with a large image."""

    file: Path
    labels: frozenset[str]
    image: Path | None
    embedded: bool


def read(files: Sequence[Path], root: Path, path: Path, unlabelled: str | None) -> OwnDataset:
    """Read a data set.

    Args:
        files: JSON files, one for each image.
        root: folder of the data set, which may hold a list of the classes.
        path: what the user named.
        unlabelled: see `catseg.data.formats`.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if a file is not labelme's, or there are no classes.
    """
    entries, problems = _entries(files, image_by_name(root))
    labels = sorted(frozenset().union(*(entry.labels for entry in entries)))
    file_of_names = named_file(root, NAME_FILES)
    names: dict[int, Name] = read_numbers(file_of_names) if file_of_names else dict(enumerate(labels))
    if not names:
        raise InputError(f"no file of {path} has a shape, so that there are no classes")
    number = {name if isinstance(name, str) else name[0]: number for number, name in names.items()}
    classes = decide_classes(names, unlabelled, origin=f"the labels of {path}")
    if unknown := [label for label in labels if label not in number]:
        problems.append(how_many(unknown, f"label is not in {file_of_names}", f"labels are not in {file_of_names}"))
    if missing := [str(entry.file) for entry in entries if entry.image is None]:
        problems.append(how_many(missing, "file's image is missing", "files' images are missing"))
    index = {label: classes.index[number[label]] for label in labels if label in number}
    samples = []
    for entry in entries:
        if entry.image is not None and entry.labels <= index.keys():
            place = entry.file.relative_to(root)
            split = split_of(place.parts[0]) if len(place.parts) > 1 else None
            source = LabelmeFile(entry.file, index, classes.rest)
            samples.append((split, OwnSample(place.with_suffix("").as_posix(), entry.image, source)))
    embedded = sum(entry.embedded for entry in entries)
    notes = ["where shapes overlap, later ones are on top"]
    if embedded:
        notes.append(f"{embedded} images are taken from the JSON files")
    if ignored := ignored_names(names, classes):
        notes.append(f"ignored classes: {', '.join(ignored)}")
    used = {sample.image.resolve() for _, sample in samples}
    without = [image.name for image in images_below(root) if image.resolve() not in used] if path.is_dir() else []
    return OwnDataset(
        path=path,
        format="labelme",
        vocabulary=classes.vocabulary,
        ignore_label=classes.ignore_label,
        unlabelled=classes.statement,
        splits=by_split(samples),
        notes=tuple(notes),
        warnings=(
            (how_many(without, "image has no JSON file and is left out", "images have no JSON file and are left out"),)
            if without
            else ()
        ),
        problems=tuple(problems),
    )


def shape_mask(shape: Mapping[str, Any], size: tuple[int, int], file: Path) -> NDArray[np.bool_]:
    """Draw a shape as labelme does.

    Args:
        shape: with "points", x and y each, and "shape_type"; "polygon" by default.
        size: rows and columns.
        file: where it comes from, for messages.

    Raises:
        ValueError: if its kind is unknown or it has too few or too many points for it.
    """
    kind, where = shape.get("shape_type") or "polygon", f"a shape {shape['label']!r} of {file}"
    points = _points(shape["points"], where)
    if kind in _CORNERS and len(points) not in _CORNERS[kind]:
        raise InputError(
            f"{where} is a {kind} with {len(points)} points, expected {' or '.join(map(str, _CORNERS[kind]))}"
        )
    if kind in ("polygon", "oriented_rectangle", "rotation") or (kind == "rectangle" and len(points) == 4):
        if len(points) < 3:
            raise InputError(f"{where} is a polygon with {len(points)} points, expected three or more")
        return polygon_mask(points, size)
    if kind == "rectangle":
        (left, right), (top, bottom) = (sorted(values) for values in zip(*points, strict=True))
        return drawn_mask(size, lambda draw: draw.rectangle([left, top, right, bottom], fill=1, outline=1))
    if kind in ("circle", "point"):
        (x, y), radius = points[0], _POINT_RADIUS if kind == "point" else math.dist(*points)
        return drawn_mask(size, lambda draw: draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=1))
    if kind in ("line", "linestrip"):
        return drawn_mask(size, lambda draw: draw.line(points, fill=1, width=_LINE_WIDTH))
    if kind == "points":
        masks = [shape_mask({**shape, "points": [point], "shape_type": "point"}, size, file) for point in points]
        return np.logical_or.reduce(masks)
    if kind == "mask":
        return _pasted(shape, points[0], size, where)
    raise InputError(f"{where} is of the unknown kind {kind!r}")


def _points(stated: Any, where: str) -> list[tuple[float, float]]:
    try:
        points = [(float(x), float(y)) for x, y in stated]
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} must have points, two numbers each, got {str(stated)[:60]}") from error
    if any(abs(value) > _FAR or not math.isfinite(value) for point in points for value in point):
        raise InputError(f"{where} has a point that is no place in an image: {str(stated)[:60]}")
    return points


def _pasted(
    shape: Mapping[str, Any], corner: tuple[float, float], size: tuple[int, int], where: str
) -> NDArray[np.bool_]:
    """Put a mask, a PNG file in Base64, with its upper left corner where its box has it."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as opened:
            part = np.asarray(opened.convert("L")) > 0
    except Exception as error:  # of many kinds, for what is missing, no Base64 or no image
        raise InputError(f"the mask of {where} cannot be read: {error!r}") from error
    mask = np.zeros(size, dtype=bool)
    left, top = round(corner[0]), round(corner[1])
    part = part[max(0, -top) :, max(0, -left) :]
    inside = mask[max(0, top) : max(0, top) + part.shape[0], max(0, left) : max(0, left) + part.shape[1]]
    inside |= part[: inside.shape[0], : inside.shape[1]]
    return mask


def _entries(files: Sequence[Path], anywhere: Callable[[str], Path | None]) -> tuple[list[_Entry], list[str]]:
    """Read files, and list those that cannot be read as problems."""
    entries: list[_Entry] = []
    problems: list[str] = []
    for file in files:
        try:
            entries.append(_entry(file, anywhere))
        except InputError as error:
            problems.append(str(error))
        except MALFORMED as error:
            problems.append(f"{file} is not labelme's: {error!r}")
    if problems and not entries:
        raise InputError(problems[0])
    return entries, problems


def _entry(file: Path, anywhere: Callable[[str], Path | None]) -> _Entry:
    content = read_json(file)
    if not looks_like(content):
        raise InputError(f'{file} must hold "shapes" and "imagePath", as labelme writes them')
    labels = frozenset(str(shape["label"]) for shape in content["shapes"])
    stated = portable(str(content["imagePath"]))
    beside = (place for place in (file.parent / stated, file.parent / stated.name) if place.is_file())
    image = next(beside, None) or anywhere(stated.name)
    embedded = image is None and bool(content.get("imageData"))
    return _Entry(file, labels, _embedded(file, content["imageData"]) if embedded else image, embedded)


def _embedded(file: Path, data: str) -> Path:
    """Write the image that a file holds to the cache."""
    try:
        image = base64.b64decode(data)
        with Image.open(io.BytesIO(image)) as opened:
            suffix = f".{(opened.format or 'png').lower()}"
    except Exception as error:  # of many kinds, for what is no Base64 or no image
        raise InputError(f"imageData of {file} is no image: {error}") from error
    target = cache_folder("own_images") / f"{file.stem}-{hashlib.sha256(image).hexdigest()[:16]}{suffix}"
    if not target.exists():
        with atomic_path(target) as temporary:
            temporary.write_bytes(image)
    return target
