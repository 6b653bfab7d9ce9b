"""PASCAL VOC, PASCAL-Context and the full ADE20K as they are downloaded, with a few real photographs each.

Every function returns the class of each pixel as the benchmark counts it, by image name: what preparation has to find.
"""

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle
from scipy.io import savemat

from catseg.vocabulary import load_vocabulary
from tests.miniature import make_images, make_labels

Truth = dict[str, np.ndarray]

# Numbers of ADE20K objects: wall, building, sky, one of no class, towel rail, adding machine; with their classes.
ADE20K_OBJECTS = {2978: 0, 312: 1, 2420: 2, 1: 65535, 2826: 845, 3148: 846}
# Numbers of PASCAL-Context: background, aeroplane, table, a class that is not among the 59, window, wood.
CONTEXT_CATEGORIES = {0: 255, 2: 0, 397: 49, 1: 255, 454: 57, 458: 58}


def make_miniature_voc(root: Path, n: int, longest_side: int = 64) -> tuple[Truth, Truth]:
    """Write VOC 2012 with `n` validation images and two others; returns the truth without and with background."""
    folder = root / "VOCdevkit" / "VOC2012"
    objects, background = {}, {}
    for index, (image, labels) in enumerate(_labelled(n + 2, (0, 1, 255, 15, 20, 7), longest_side)):
        name = f"2007_{index:06d}"
        _save(image, folder / "JPEGImages" / f"{name}.jpg")
        image = Image.fromarray(labels.astype(np.uint8))
        image.putpalette(_voc_colours())
        _save(image, folder / "SegmentationClassAug" / f"{name}.png")
        if index < n:
            objects[name] = np.where((labels == 0) | (labels == 255), 255, labels - 1)
            background[name] = np.where(labels == 0, 20, np.where(labels == 255, 255, labels - 1))
    _write_lines(folder / "ImageSets" / "Segmentation" / "val.txt", objects)
    return objects, background


def make_miniature_context_59(root: Path, n: int, longest_side: int = 64) -> Truth:
    """Write VOC 2010 with the annotations of `n` validation images and two others in one JSON file."""
    folder = root / "VOCdevkit" / "VOC2010"
    truth = {}
    images, regions = [], []
    for index, (image, labels) in enumerate(_labelled(n + 2, tuple(CONTEXT_CATEGORIES), longest_side)):
        name = f"2008_{index:06d}"
        _save(image, folder / "JPEGImages" / f"{name}.jpg")
        number = 2008000000 + index
        size = {"height": image.height, "width": image.width}
        phase = "val" if index < n else "train"
        images.append({"image_id": number, "file_name": f"{name}.jpg", "phase": phase, **size})
        # The first region is painted over by those that come after it.
        parts = [(2, labels >= 0), *((category, labels == category) for category in np.unique(labels))]
        for category, part in parts:
            coded = rle.encode(np.asfortranarray(part, dtype=np.uint8))
            coded = {"size": [int(side) for side in coded["size"]], "counts": coded["counts"].decode()}
            row = {"id": len(regions), "image_id": number, "category_id": int(category), "segmentation": coded}
            regions.append(row)
        if index < n:
            truth[name] = _replaced(labels, CONTEXT_CATEGORIES)
    content = {"images": images, "annos_segmentation": regions, "annos_boundary": []}
    (folder / "trainval_merged.json").write_text(json.dumps(content))
    return truth


def make_miniature_context_459(root: Path, n: int, longest_side: int = 64) -> Truth:
    """Write VOC 2010 with `n` validation images and two others, a .mat file each, and the two lists."""
    folder = root / "VOCdevkit" / "VOC2010"
    truth = {}
    for index, (image, labels) in enumerate(_labelled(n + 2, (1, 2, 460, 459, 431, 257), longest_side)):
        name = f"2008_{index:06d}"
        _save(image, folder / "JPEGImages" / f"{name}.jpg")
        (folder / "trainval").mkdir(exist_ok=True)
        savemat(folder / "trainval" / f"{name}.mat", {"LabelMap": labels.astype(np.uint16)}, do_compression=True)
        if index < n:
            truth[name] = labels - 1
    _write_lines(folder / "pascalcontext_val.txt", truth)
    names = load_vocabulary("pascal_context_459")
    _write_lines(folder / "labels.txt", [f"{number}: {name}" for number, name in enumerate(names, 1)])
    return truth


def make_miniature_ade20k_full(root: Path, n: int, longest_side: int = 64) -> Truth:
    """Write ADE20K_2021_17_01 with `n` validation images and two others, colour-coded, and the index."""
    files, folders = [], []
    truth = {}
    for index, (image, labels) in enumerate(_labelled(n + 2, tuple(ADE20K_OBJECTS), longest_side)):
        name = f"ADE_{'val' if index < n else 'train'}_{index + 1:08d}"
        folder = f"ADE20K_2021_17_01/images/ADE/{'validation' if index < n else 'training'}/urban/street_{index}"
        _save(image, root / folder / f"{name}.jpg")
        instances = np.arange(labels.size).reshape(labels.shape) % 7
        colours = np.stack([labels // 256 * 10 + instances, labels % 256, instances], axis=-1)
        _save(Image.fromarray(colours.astype(np.uint8)), root / folder / f"{name}_seg.png")
        files.append(f"{name}.jpg")
        folders.append(folder)
        if index < n:
            truth[name] = _replaced(labels, ADE20K_OBJECTS)
    index_of_all = {
        "filename": files,
        "folder": folders,
        "objectIsPart": np.zeros((3, n + 2), dtype=np.float32),
        "objectcounts": np.ones(3),
        "objectnames": ["wall", "building, edifice", "sky"],
        "scene": ["/street"] * (n + 2),
        "typeset": np.arange(n + 2),
        "wordnet_gloss": ["", "a structure that has a roof", None],
    }
    (root / "ADE20K_2021_17_01" / "index_ade20k.pkl").write_bytes(pickle.dumps(index_of_all, protocol=3))
    return truth


def _labelled(n: int, values: tuple[int, ...], longest_side: int) -> Iterator[tuple[Image.Image, np.ndarray]]:
    """`n` images, each with labels of some of the values, int64 (H, W)."""
    for index, image in enumerate(make_images(n, longest_side)):
        yield image, np.roll(values, 2 * index)[make_labels(image, np.arange(len(values)))].astype(np.int64)


def _replaced(labels: np.ndarray, table: dict[int, int]) -> np.ndarray:
    replace: Callable = np.vectorize(table.get, otypes=[np.int64])
    return replace(labels)


def _voc_colours() -> list[int]:
    """The colour map of VOC: the bits of the class number, dealt out to red, green and blue from the highest on."""
    bits = [
        [(number >> (3 * place + channel)) & 1 for place in range(3)] for number in range(256) for channel in range(3)
    ]
    return [sum(bit << (7 - place) for place, bit in enumerate(row)) for row in bits]


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _write_lines(path: Path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
