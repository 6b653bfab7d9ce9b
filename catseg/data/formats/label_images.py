"""Folders of images and label images with a file that names the classes.

`images/` beside `labels/`, `masks/` or `annotations/` (or other names, see below), each with or without folders for
splits (`images/train`), or `train/images` beside `train/labels`, or `train` beside `train_labels`. A label image has
its image's name, or that and `_mask`, `_label` or the like. Label images hold numbers, which a list of names explains
("label-images"; number k is the k-th name, from 0, unless the list is numbered; 255 is ignored unless it is listed),
or colours, which a table of colours explains ("colour-masks").
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from catseg.data.formats.classes import Classes, Name, decide_classes, ignored_names
from catseg.data.formats.dataset import Labels, OwnDataset, OwnSample
from catseg.data.formats.files import by_split, how_many, images_below, keyed, split_of, subfolder
from catseg.data.formats.label_files import ColourLabels, IndexLabels
from catseg.data.formats.names import COLOUR_FILES, NAME_FILES, read_colours, read_numbers
from catseg.data.pairs import listed
from catseg.errors import InputError

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "img_dir")
LABEL_FOLDERS = (
    *("labels", "masks", "annotations", "label", "mask", "annotation", "ann_dir", "ann", "gt", "segmentation"),
    *("labels_png", "annotations_detectron2"),
)
_ENDINGS = ("_mask", "_label", "_labels", "_gt", "_seg", "_L", "-mask", "_masks", "_annotation")
_BESIDE = ("_labels", "_label", "_masks", "_mask", "_annot", "annot", "_gt")
_IGNORED_VALUE = 255


def named_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    """Return the file of a folder that has one of some names, in any case; None if there is none.

    Raises:
        ValueError: if there are several.
    """
    files = [path for path in sorted(folder.iterdir()) if path.name.casefold() in names and path.is_file()]
    if len(files) > 1:
        raise InputError(f"{folder} has {listed([path.name for path in files])}: keep the one that is right")
    return files[0] if files else None


def folders(root: Path) -> list[tuple[Path, Path, str | None]]:
    """Return folder of images, folder of label images and split of all pairs of such folders that hold files."""
    pairs = []
    for parent in [root, *(path for path in sorted(root.iterdir()) if path.is_dir() and split_of(path.name))]:
        images, labels = subfolder(parent, IMAGE_FOLDERS), subfolder(parent, LABEL_FOLDERS)
        if images and labels and images_below(labels):
            pairs.append((images, labels, None if parent == root else split_of(parent.name)))
        beside = subfolder(root, [f"{parent.name}{ending}" for ending in _BESIDE]) if parent != root else None
        if beside and images_below(beside):
            pairs.append((parent, beside, split_of(parent.name)))
    return pairs


def read_indices(root: Path, unlabelled: str | None) -> OwnDataset:
    """Read a data set of label images that hold numbers.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if there is no list of names, or it is not usable.
    """
    file = named_file(root, NAME_FILES)
    if file is None:
        raise InputError(f"{root} needs a list of the classes, such as classes.txt with one name per line")
    names = read_numbers(file)
    classes = decide_classes(names, unlabelled, origin=f"the names in {file}")
    table = {_IGNORED_VALUE: classes.ignore_label, **classes.index}
    return _dataset(root, "label-images", names, classes, lambda path: IndexLabels(path, table))


def read_masks(root: Path, unlabelled: str | None) -> OwnDataset:
    """Read a data set of masks whose colours stand for classes.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if there is no table of colours, or it is not usable.
    """
    file = named_file(root, COLOUR_FILES)
    if file is None:
        raise InputError(f"{root} needs a table of the colours, such as colors.csv with the columns name, r, g, b")
    table = read_colours(file)
    names = dict(enumerate(dict.fromkeys(name for name, _ in table)))  # one class may have several colours
    classes = decide_classes(names, unlabelled, origin=f"the names in {file}")
    number = {name: number for number, name in names.items()}
    colours = {colour: classes.index[number[name]] for name, colour in table}
    return _dataset(root, "colour-masks", names, classes, lambda path: ColourLabels(path, colours))


def _dataset(
    root: Path, kind: str, names: Mapping[int, Name], classes: Classes, source: Callable[[Path], Labels]
) -> OwnDataset:
    samples, problems = [], []
    for image_folder, label_folder, split in folders(root):
        images, labels = (
            keyed(images_below(image_folder), image_folder),
            keyed(images_below(label_folder), label_folder),
        )
        paired, unused = _paired(images, labels)
        if lonely := sorted(images.keys() - paired.keys()):
            problems.append(how_many(lonely, "image has no label map", "images have no label map"))
        if unused:
            problems.append(how_many(unused, "label map has no image", "label maps have no image"))
        for key, label in paired.items():
            name = key if split is None else f"{split}/{key}"
            first = key.split("/")[0] if "/" in key else ""
            samples.append((split or split_of(first), OwnSample(name, images[key], source(label))))
    if not samples:
        raise InputError(f"{root} has no image with a label map of the same name" + "".join(f"; {p}" for p in problems))
    ignored = ignored_names(names, classes)
    return OwnDataset(
        path=root,
        format=kind,
        vocabulary=classes.vocabulary,
        ignore_label=classes.ignore_label,
        unlabelled=classes.statement,
        splits=by_split(samples),
        notes=(f"ignored classes: {', '.join(ignored)}",) if ignored else (),
        problems=tuple(problems),
    )


def _paired(images: Mapping[str, Path], labels: Mapping[str, Path]) -> tuple[dict[str, Path], list[str]]:
    """Give each image its label map; and list the label maps without image."""
    paired: dict[str, Path] = {}
    unused: list[str] = []
    for key, label in labels.items():
        stems = [key, *(key.removesuffix(ending) for ending in _ENDINGS if key.endswith(ending))]
        image = next((stem for stem in stems if stem in images), None)
        if image is None:
            unused.append(key)
        elif image in paired:
            raise InputError(f"{images[image]} has two label maps: {paired[image].name} and {label.name}")
        else:
            paired[image] = label
    return paired, unused
