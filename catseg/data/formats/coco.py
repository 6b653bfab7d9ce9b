"""COCO's JSON: polygons and RLE of instances and stuff, and panoptic segments.

Categories are the classes, in the order of their ids, which may have gaps; those of one name are one class. Where
annotations overlap, smaller ones are on top of larger ones; crowds are as any other. Sizes that the file states decide
whether annotations are drawn on the upright or on the stored image. Images are looked for under their `file_name`
beside the JSON file, in the folders that are customary for its split, and at last by name anywhere in the folder of the
data set.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseg.data.formats.classes import Classes, Name, decide_classes, ignored_names
from catseg.data.formats.dataset import Geometry, Labels, OwnDataset, OwnSample
from catseg.data.formats.files import by_split, how_many, image_by_name, mentions, portable, read_json, split_of
from catseg.data.formats.segmentations import is_empty, segmentation_mask
from catseg.data.formats.shapes import as_bytes, canvas_of, paint, upright
from catseg.data.pairs import listed
from catseg.errors import InputError
from catseg.image_io import read_image

_FOLDERS = ("", "images", "train", "val", "test", "train2017", "val2017", "JPEGImages")


@dataclass(frozen=True)
class CocoLabels:
    """The annotations of an image.

    Attributes:
        file: the JSON file.
        image: `file_name` of the image.
        size: rows and columns that the file states; None if it does not.
        annotations: category id and segmentation of each.
        index: class or ignored label of each category id.
        rest: label of the pixels outside all annotations.
    """

    file: Path
    image: str
    size: tuple[int, int] | None
    annotations: tuple[tuple[int, Any], ...]
    index: Mapping[int, int]
    rest: int

    is_label_map = False

    def read(self, image: Geometry) -> NDArray[np.int64]:
        """Make the label map, see `Labels`."""
        where = f"{self.image} in {self.file}"
        size, orientation = canvas_of(image, self.size, where)
        shapes = [
            (self.index[category], segmentation_mask(segmentation, size, where))
            for category, segmentation in self.annotations
        ]
        return upright(paint(shapes, size, self.rest, smaller_on_top=True), orientation)

    def content(self) -> bytes:
        """Return annotations and what their categories mean."""
        return as_bytes(self.size, self.annotations, sorted(self.index.items()), self.rest)


@dataclass(frozen=True)
class PanopticLabels:
    """The panoptic segments of an image.

    Attributes:
        file: the image of segment numbers, R + 256 G + 65536 B; 0 is unlabelled.
        segments: class or ignored label of each segment.
        rest: label of the unlabelled pixels.
    """

    file: Path
    segments: Mapping[int, int]
    rest: int

    is_label_map = False

    def read(self, image: Geometry) -> NDArray[np.int64]:
        """Make the label map, see `Labels`."""
        numbers = read_image(self.file, upright=False).astype(np.int64) @ np.array([1, 256, 65536])
        table = {0: self.rest, **self.segments}
        found, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        unknown = [
            f"{number} ({count} pixels)" for number, count in zip(found, counts, strict=True) if number not in table
        ]
        if unknown:
            raise InputError(f"{self.file} has segments that its JSON file does not list: {', '.join(unknown[:10])}")
        return np.array([table[int(number)] for number in found], dtype=np.int64)[inverse.reshape(numbers.shape)]

    def content(self) -> bytes:
        """Return the segments and the image."""
        return as_bytes(sorted(self.segments.items()), self.rest) + self.file.read_bytes()


def looks_like(content: Any) -> bool:
    """Tell whether the content of a JSON file is COCO's, with segmentations or panoptic segments."""
    return isinstance(content, Mapping) and {"images", "annotations", "categories"} <= content.keys()


def find(folder: Path) -> list[Path]:
    """List the COCO files of a data set: JSON files in the folder or in a folder in it, such as `annotations`.

    Of COCO's own files, those of instances are taken.

    Raises:
        ValueError: if there are several kinds of files, such as those of instances and those of stuff.
    """
    places = [folder, *(path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith("."))]
    kinds: dict[str, list[Path]] = {}
    for path in (path for place in places for path in sorted(place.glob("*.[jJ][sS][oO][nN]"))):
        if not path.name.startswith(".") and mentions(path, "images", "annotations", "categories"):
            kinds.setdefault(re.sub(r"(train|valid|val|test|dev)[a-z]*|[\d_\W]+", "", path.stem.casefold()), []).append(
                path
            )
    if len(kinds) > 1 and "instances" not in kinds:
        raise InputError(
            f"{folder} has several COCO files: name one of {listed([str(f) for k in kinds.values() for f in k])}"
        )
    return kinds.get("instances") or next(iter(kinds.values()), [])


def read(files: Sequence[Path], root: Path, path: Path, unlabelled: str | None) -> OwnDataset:
    """Read a data set.

    Args:
        files: JSON files, one for each split.
        root: folder of the data set, where images are looked for.
        path: what the user named.
        unlabelled: see `catseg.data.formats`.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if a file is not COCO's, or two of them differ in their categories.
    """
    reading = _Reading(root)
    for file in files:
        content = read_json(file)
        if not looks_like(content):
            raise InputError(f'{file} must hold "images", "annotations" and "categories", as COCO has them')
        reading.add(file, content)
    names, same = reading.classes()
    classes = decide_classes(names, unlabelled, origin=f"the categories of {path}")
    classes = replace(classes, index={number: classes.index[first] for number, first in same.items()})
    found = [(split, OwnSample(name, image, labels(classes))) for split, name, image, labels in reading.found]
    problems = list(reading.problems)
    if reading.without_mask:
        kind = "annotation has no segmentation", "annotations have no segmentation"
        ignored = classes.rest == classes.ignore_label
        text = how_many(reading.without_mask, *kind) + " (boxes do not say which pixels they mean)"
        (reading.warnings if ignored and len(reading.without_mask) < reading.count else problems).append(text)
    notes = [f"ignored classes: {', '.join(void)}"] if (void := ignored_names(names, classes)) else []
    return OwnDataset(
        path=path,
        format="coco",
        vocabulary=classes.vocabulary,
        ignore_label=classes.ignore_label,
        unlabelled=classes.statement,
        splits=by_split(found),
        notes=("where annotations overlap, smaller ones are on top", *notes),
        warnings=tuple(reading.warnings),
        problems=tuple(problems),
    )


@dataclass
class _Reading:
    """What has been read of the files of a data set."""

    root: Path
    names: dict[int, Name] = field(default_factory=dict)
    parents: dict[int, str] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)  # categories with annotations
    found: list[tuple[str | None, str, Path, Callable[[Classes], Labels]]] = field(default_factory=list)
    without_mask: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    count: int = 0  # of annotations

    def add(self, file: Path, content: Mapping[str, Any]) -> None:
        """Read a file."""
        for category in content["categories"]:
            number, name = category["id"], str(category["name"])
            self.parents[number] = str(category.get("supercategory"))
            if self.names.setdefault(number, name) != name:
                raise InputError(
                    f"{file} gives the category {number} the name {name!r}, another {self.names[number]!r}"
                )
        split = split_of(file.stem) or split_of(file.parent.name)
        by_image: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            by_image[annotation["image_id"]].append(annotation)
        locate, missing = _image_finder(file, self.root), []
        for record in content["images"]:
            name = _file_name(record)
            image = locate(name)
            if image is None:
                missing.append(name)
                continue
            labels = self._labels(file, record, by_image.pop(record["id"], []))
            self.found.append((split, portable(name).with_suffix("").as_posix(), image, labels))
        if missing:
            self.problems.append(how_many(missing, f"image of {file} is missing", f"images of {file} are missing"))
            return
        if by_image:
            self.problems.append(f"{file} has annotations of {len(by_image)} images that it does not list")

    def classes(self) -> tuple[dict[int, Name], dict[int, int]]:
        """Return the names of the classes, and the first category of each category's name.

        Roboflow's first category stands for the project: it is the parent of the others and has no annotations, and
        often the name of one of them.
        """
        groups = {number for number, parent in self.parents.items() if parent == "none"} - self.used
        parents = set(self.parents.values())
        kept = {
            number: name
            for number, name in sorted(self.names.items())
            if not (number in groups and name in parents and len(self.names) > 1)
        }
        first: dict[Name, int] = {}
        same = {number: first.setdefault(name, number) for number, name in kept.items()}
        return {number: name for number, name in kept.items() if same[number] == number}, same

    def _labels(
        self, file: Path, record: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]
    ) -> Callable[[Classes], Labels]:
        if annotations and "segments_info" in annotations[0]:
            return self._panoptic(file, annotations[0])
        self.count += len(annotations)
        name = _file_name(record)
        kept = []
        for annotation in annotations:
            if annotation["category_id"] not in self.names:
                raise InputError(
                    f"{file}: an annotation of {name} has the category {annotation['category_id']}, "
                    "which the file does not list"
                )
            self.used.add(annotation["category_id"])
            if is_empty(annotation.get("segmentation")):
                self.without_mask.append(f"{annotation.get('id')} of {name}")
            else:
                kept.append((annotation["category_id"], annotation["segmentation"]))
        size = (record["height"], record["width"]) if record.get("height") and record.get("width") else None
        return lambda classes: CocoLabels(file, name, size, tuple(kept), classes.index, classes.rest)

    def _panoptic(self, file: Path, annotation: Mapping[str, Any]) -> Callable[[Classes], Labels]:
        name = annotation["file_name"]
        places = [file.parent / file.stem, self.root / file.stem, file.parent]
        mask = next((place / name for place in places if (place / name).is_file()), places[0] / name)
        segments = {segment["id"]: segment["category_id"] for segment in annotation["segments_info"]}
        self.used.update(segments.values())
        return lambda classes: PanopticLabels(
            mask, {number: classes.index[category] for number, category in segments.items()}, classes.rest
        )


def _file_name(record: Mapping[str, Any]) -> str:
    """Return the file name of an image; LVIS gives its address alone, with the folder that COCO has it in."""
    return str(record["file_name"]) if "file_name" in record else "/".join(str(record["coco_url"]).split("/")[-2:])


def _image_finder(file: Path, root: Path) -> Callable[[str], Path | None]:
    """Return a function that finds an image by its `file_name`; None if it is nowhere, or in several places by name.

    Folders named after the split of the JSON file come first and those of another split last, since images of several
    splits often have the same names.
    """
    stems = [file.stem.removeprefix(start) for start in ("instances_", "stuff_", "panoptic_")]
    own = split_of(file.stem) or split_of(file.parent.name)
    ranks: tuple[list[Path], ...] = ([], [], [])
    for parent in dict.fromkeys((file.parent, root)):
        for stem in dict.fromkeys(("", *stems)):
            for name in _FOLDERS:
                folder = parent / name / stem
                splits = {split for part in folder.relative_to(root).parts if (split := split_of(part))}
                ranks[0 if own in splits else 2 if splits else 1].append(folder)
    anywhere = image_by_name(root)

    def locate(name: str) -> Path | None:
        wanted = portable(name)
        for folders in ranks:
            for folder in folders:
                if (folder / wanted).is_file():
                    folders.insert(0, folder)  # most others are there, too
                    del folders[folders.index(folder, 1)]
                    return folder / wanted
        return anywhere(wanted.name)

    return locate
