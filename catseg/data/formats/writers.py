"""What is written of each image, and of all, in the formats that `convert` knows.

Functions `write_...` write the labels of one image; functions `finish_...` what all have in common.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from pycocotools import mask as rle_masks

from catseg.atomic import write_json
from catseg.data.formats.classes import is_background
from catseg.data.formats.dataset import OwnDataset
from catseg.data.formats.label_files import voc_colours
from catseg.data.formats.outlines import outlines
from catseg.data.formats.prepared import write_label_map
from catseg.data.formats.shapes import paint, polygon_mask

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """Where the files of an image go.

    Attributes:
        folder: of the new data set.
        split: of the image.
        name: of its files, without suffix.
        image_folder: of the image.
        dataset: what is converted.
        image: the copied image.
    """

    folder: Path
    split: str
    name: str
    image_folder: Path
    dataset: OwnDataset
    image: Path = Path()

    def with_image(self, image: Path) -> "Written":
        """Return the same with the copied image."""
        return replace(self, image=image)

    def without_samples(self) -> "Written":
        """Return the same without the samples of the data set, to be sent to other processes."""
        return replace(self, dataset=replace(self.dataset, splits={}))


BySplit = Mapping[str, Sequence[tuple[Written, Any]]]


def write_index(written: Written, labels: np.ndarray) -> None:
    """Write the label map into `labels/SPLIT`."""
    write_label_map(
        written.folder / "labels" / written.split / f"{written.name}.png", labels, written.dataset.ignore_label
    )


def finish_index(folder: Path, dataset: OwnDataset, _by_split: BySplit) -> None:
    """Write the names, each as a list of synonyms; numbered, with the ignored label if it is not 255."""
    names: dict[int, object] = dict(enumerate(map(list, dataset.vocabulary.synonyms)))
    if dataset.ignore_label != 255:
        names[dataset.ignore_label] = "ignore"
    write_json(folder / "classes.json", names)


def write_detectron2(written: Written, labels: np.ndarray) -> None:
    """Write the label map into `annotations_detectron2/SPLIT`."""
    file = written.folder / "annotations_detectron2" / written.split / f"{written.name}.png"
    write_label_map(file, labels, written.dataset.ignore_label)


def finish_detectron2(folder: Path, dataset: OwnDataset, by_split: BySplit) -> None:
    """Write the names and a script that registers the splits."""
    finish_index(folder, dataset, by_split)
    script = f'''"""Registers this data set with Detectron2: import it before the data set is used."""

from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

ROOT = Path(__file__).parent


def records(split):
    labels = {{path.stem: path for path in (ROOT / "annotations_detectron2" / split).iterdir()}}
    images = sorted((ROOT / "images" / split).iterdir())
    return [{{"file_name": str(path), "sem_seg_file_name": str(labels[path.stem])}} for path in images]


for split in {list(by_split)!r}:
    DatasetCatalog.register(f"{{ROOT.name}}_{{split}}", lambda split=split: records(split))
    MetadataCatalog.get(f"{{ROOT.name}}_{{split}}").set(
        stuff_classes={list(dataset.vocabulary)!r},
        ignore_label={dataset.ignore_label},
        evaluator_type="sem_seg",
    )
'''
    (folder / "register.py").write_text(script, encoding="utf-8")


def write_coco(written: Written, labels: np.ndarray) -> tuple[tuple[int, int], list[tuple[int, dict[str, object]]]]:
    """Return the size and the RLE of each class."""
    found = []
    ignored, classes = written.dataset.ignore_label, len(written.dataset.vocabulary)
    # What no annotation covers is ignored, unless there is a background: only then is "ignore" a category.
    by_annotation = any(map(is_background, written.dataset.vocabulary))
    for label in np.unique(labels if by_annotation else labels[labels != ignored]):
        rle = rle_masks.encode(np.asfortranarray((labels == label).astype(np.uint8)))
        area, box = int(rle_masks.area(rle)), rle_masks.toBbox(rle).tolist()
        segmentation = {"size": list(labels.shape), "counts": rle["counts"].decode()}
        found.append(
            (classes if label == ignored else int(label), {"segmentation": segmentation, "area": area, "bbox": box})
        )
    return (labels.shape[0], labels.shape[1]), found


def finish_coco(folder: Path, dataset: OwnDataset, by_split: BySplit) -> None:
    """Write `annotations/instances_SPLIT.json`; category k + 1 is class k."""
    used = {label for items in by_split.values() for _, (_, found) in items for label, _ in found}
    names = [*dataset.vocabulary, *(["ignore"] if len(dataset.vocabulary) in used else [])]
    categories = [{"id": k + 1, "name": name, "supercategory": ""} for k, name in enumerate(names)]
    for split, items in by_split.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, (written, result) in enumerate(items, 1):
            (height, width), found = result
            images.append({"id": number, "file_name": written.image.name, "height": height, "width": width})
            for label, fields in found:
                keys = {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "iscrowd": 0}
                annotations.append(keys | fields)
        content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
        write_json(folder / "annotations" / f"instances_{split}.json", content)


def write_yolo(written: Written, labels: np.ndarray) -> int:
    """Write the polygons into `labels/SPLIT`, and return how many pixels they change."""
    number = _yolo_numbers(written.dataset)
    height, width = labels.shape
    shapes = outlines(labels, number)
    lines = [
        " ".join([str(number[label]), *(f"{x / width:.7g} {y / height:.7g}" for x, y in corners)])
        for label, corners in shapes
    ]
    file = written.folder / "labels" / written.split / f"{written.name}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    rest = -1  # the class that Ultralytics adds
    masks = ((label, polygon_mask(corners, (height, width))) for label, corners in shapes)
    wanted = np.where(np.isin(labels, list(number)) | (labels == written.dataset.ignore_label), labels, rest)
    return int((paint(masks, (height, width), rest, smaller_on_top=False) != wanted).sum())


def finish_yolo(folder: Path, dataset: OwnDataset, by_split: BySplit) -> None:
    """Write data.yaml."""
    names = {number: dataset.vocabulary[label] for label, number in _yolo_numbers(dataset).items()}
    config = {"path": ".", **{split: f"images/{split}" for split in by_split}, "names": names}
    (folder / "data.yaml").write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False), encoding="utf-8")
    changed = [count for items in by_split.values() for _, count in items]
    if any(changed):
        logger.warning(
            "%d pixels of %d images were ignored, or lie in holes, which polygons cannot say: they changed class",
            sum(changed),
            sum(count > 0 for count in changed),
        )


def write_labelme(written: Written, labels: np.ndarray) -> None:
    """Write the polygons beside the image, ignored pixels as `__ignore__`."""
    names = written.dataset.vocabulary
    shapes: list[dict[str, Any]] = [
        {
            "label": "__ignore__" if label == written.dataset.ignore_label else names[label],
            "points": [[float(x), float(y)] for x, y in corners],
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for label, corners in outlines(labels, map(int, np.unique(labels)))
    ]
    content = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": written.image.name,
        "imageData": None,
        "imageHeight": labels.shape[0],
        "imageWidth": labels.shape[1],
    }
    write_json(written.image.with_suffix(".json"), content)


def finish_labelme(folder: Path, dataset: OwnDataset, _by_split: BySplit) -> None:
    """Write labels.txt, the list of labels as labelme's option `--labels` takes it."""
    _write_names(folder / "labels.txt", ["__ignore__", *dataset.vocabulary], first=-1)


def write_voc(written: Written, labels: np.ndarray) -> None:
    """Write the mask with PASCAL VOC's palette into `SegmentationClass`."""
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette([channel for colour in voc_colours() for channel in colour])
    file = written.folder / "SegmentationClass" / f"{written.name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)


def finish_voc(folder: Path, dataset: OwnDataset, by_split: BySplit) -> None:
    """Write the lists of images and class_names.txt, whose lines are the numbers of the masks."""
    for split, items in by_split.items():
        file = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{written.name}\n" for written, _ in items), encoding="utf-8")
    _write_names(folder / "class_names.txt", dataset.vocabulary, first=0)


def _write_names(file: Path, names: Sequence[str], *, first: int) -> None:
    """Write one name per line, or JSON where lines would be taken for comments or numbers."""
    if any(re.match(r"[#\d-]", name) for name in names):
        write_json(file.with_suffix(".json"), dict(enumerate(names, first)))
    else:
        file.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def _yolo_numbers(dataset: OwnDataset) -> dict[int, int]:
    """Return the number of each class in Ultralytics' files, where the background is not listed."""
    kept = [label for label, name in enumerate(dataset.vocabulary) if not is_background(name)]
    return {label: number for number, label in enumerate(kept)}
