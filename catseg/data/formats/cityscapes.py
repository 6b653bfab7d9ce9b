"""Cityscapes: `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` with `gtFine/SPLIT/CITY/*_gtFine_labelIds.png`.

The 19 classes of its benchmark; all others are ignored. Label maps whose numbers are those of training
(`_labelTrainIds`) are taken unless fewer images have one. The labels of its test split are not public: it is left out.
"""

from pathlib import Path

from catseg.data.formats.classes import decide_classes
from catseg.data.formats.dataset import OwnDataset, OwnSample
from catseg.data.formats.files import by_split, how_many, images_below, split_of, subfolder
from catseg.data.formats.label_files import IndexLabels
from catseg.errors import InputError

_IMAGES = "leftImg8bit"
_LABELS = ("gtFine", "gtCoarse")
_CLASSES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
_VALUES = range(34)  # of labelIds
_IGNORED_VALUE = 255
_KINDS = ("labelIds", "labelTrainIds")


def is_home(folder: Path) -> bool:
    """Tell whether a folder is that of Cityscapes."""
    return subfolder(folder, [_IMAGES]) is not None and subfolder(folder, _LABELS) is not None


def read(folder: Path, unlabelled: str | None) -> OwnDataset:
    """Read the data set.

    Raises:
        OSError: if a folder cannot be read.
        ValueError: if it has no images.
    """
    images, labels = subfolder(folder, [_IMAGES]), subfolder(folder, _LABELS)
    if images is None or labels is None:
        raise InputError(f"{folder} must have the folders {_IMAGES} and {' or '.join(_LABELS)}")
    classes = decide_classes(dict(enumerate(_CLASSES.values())), unlabelled, origin="the classes of Cityscapes")
    found = {image: split_of(image.relative_to(images).parts[0]) for image in images_below(images)}
    wanted = [image for image, split in found.items() if split != "test"]
    if not wanted:
        raise InputError(f"{images} holds no images for training or validation")
    stems = {image: _label_stem(image, images, labels) for image in wanted}
    count = {kind: sum(_file(stem, kind).exists() for stem in stems.values()) for kind in _KINDS}
    trained = count["labelTrainIds"] >= max(1, count["labelIds"])
    kind = "labelTrainIds" if trained else "labelIds"
    numbers = {value: list(_CLASSES).index(value) if value in _CLASSES else classes.rest for value in _VALUES}
    table = {value: value for value in range(len(_CLASSES))} if trained else numbers
    table[_IGNORED_VALUE] = classes.rest
    files = {image: _file(stem, kind) for image, stem in stems.items()}
    missing = [str(file) for file in files.values() if not file.exists()]
    notes = [f"label maps are {kind}"]
    if len(wanted) < len(found):
        notes.append(f"{len(found) - len(wanted)} images of the test split are left out: their labels are not public")
    return OwnDataset(
        path=folder,
        format="cityscapes",
        vocabulary=classes.vocabulary,
        ignore_label=classes.ignore_label,
        unlabelled=classes.statement,
        splits=by_split(
            (
                found[image],
                OwnSample(image.relative_to(images).with_suffix("").as_posix(), image, IndexLabels(file, table)),
            )
            for image, file in files.items()
            if file.exists()
        ),
        notes=tuple(notes),
        problems=(how_many(missing, "label map is missing", "label maps are missing"),) if missing else (),
    )


def _file(stem: Path, kind: str) -> Path:
    return stem.with_name(f"{stem.name}_{kind}.png")


def _label_stem(image: Path, images: Path, labels: Path) -> Path:
    inside = image.relative_to(images)
    return labels / inside.parent / f"{inside.stem.removesuffix(f'_{_IMAGES}')}_{labels.name}"
