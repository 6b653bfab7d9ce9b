"""Folders of images and label images with a file that names the classes.

`images/` beside `labels/`, `masks/` or `annotations/` (or other names, see below), each with or without folders for
splits (`images/train`), or `train/images` beside `train/labels`, or `train` beside `train_labels`; or both in one
folder, as Roboflow's "semantic segmentation masks" and DeepGlobe have them. A label image has its image's name, but for
endings such as `_mask` or `_label`, and `_RGB` or `_sat` of the image's. Label images hold numbers, which a list of
names explains ("label-images"; number k is the k-th name, from 0, unless the list is numbered; 255 is ignored unless it
is listed), or colours, which a table of colours explains ("colour-masks"). The list or table is in the folder of the
data set, or the same one in that of each split.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from catseg.data.formats.classes import Classes, Name, decide_classes, ignored_names
from catseg.data.formats.dataset import Labels, OwnDataset, OwnSample
from catseg.data.formats.files import by_split, how_many, images_below, images_in, keyed, split_of, subfolder
from catseg.data.formats.label_files import Colour, ColourLabels, IndexLabels
from catseg.data.formats.names import read_colours, read_numbers
from catseg.data.pairs import listed
from catseg.errors import InputError

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "img_dir", "images_png", "701_StillsRaw_full")
LABEL_FOLDERS = (
    *("labels", "masks", "annotations", "label", "mask", "annotation", "ann_dir", "ann", "gt", "segmentation"),
    *("labels_png", "masks_png", "annotations_detectron2", "LabeledApproved_full"),
)
_FOLDERS = {name.casefold() for name in (*IMAGE_FOLDERS, *LABEL_FOLDERS)}
_LABEL_ENDINGS = tuple(
    f"{sign}{word}"
    for word in ("mask", "masks", "label", "labels", "gt", "seg", "annotation", "L", "P", "lab")
    for sign in "_-"
)
_IMAGE_ENDINGS = tuple(
    f"{sign}{word}" for word in ("RGB", "IRRG", "RGBIR", "ortho", "sat", "image", "img", "leftImg8bit") for sign in "_-"
)
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


def class_file(root: Path, names: tuple[str, ...]) -> Path | None:
    """Return the file with one of some names of a data set, or of each of its splits; None if there is none.

    Raises:
        ValueError: if there are several that differ.
    """
    if (file := named_file(root, names)) is not None:
        return file
    places = dict.fromkeys(place for images, labels, _ in folders(root) for place in (images, labels, images.parent))
    files = [file for place in places if (file := named_file(place, names)) is not None]
    if len({file.read_bytes() for file in files}) > 1:
        raise InputError(f"{root} has files that differ: {listed([str(file) for file in files])}: put one into {root}")
    return files[0] if files else None


def folders(root: Path) -> list[tuple[Path, Path, str | None]]:
    """Return folder of images, folder of label images and split of all pairs of such folders that hold files.

    They are looked for in the folder of the data set, in those of splits and in the folders of these. Both folders are
    the same where images and label images are together.
    """
    pairs: list[tuple[Path, Path, str | None]] = []
    for parent, split in _parents(root):
        images, labels = subfolder(parent, IMAGE_FOLDERS), subfolder(parent, LABEL_FOLDERS)
        if images and labels and images_below(labels):
            pairs.append((images, labels, split))
        elif _has_both(parent):
            pairs.append((parent, parent, split))
        beside = subfolder(root, [f"{parent.name}{ending}" for ending in _BESIDE]) if parent.parent == root else None
        if beside and images_below(beside):
            pairs.append((parent, beside, split))
    return pairs


def _parents(root: Path) -> list[tuple[Path, str | None]]:
    found: list[tuple[Path, str | None]] = [(root, None)]
    for path in sorted(root.iterdir()):
        if path.is_dir() and (split := split_of(path.name)):
            inside = [place for place in sorted(path.iterdir()) if place.name.casefold() not in _FOLDERS]
            found += [(place, split) for place in (path, *inside) if place.is_dir()]
    return found


def _has_both(folder: Path) -> bool:
    names = {path.stem for path in images_in(folder)}
    images = names | {_stem(name, _IMAGE_ENDINGS) for name in names}
    return any((stem := _stem(name, _LABEL_ENDINGS)) != name and stem in images for name in names)


def _stem(name: str, endings: Iterable[str]) -> str:
    """Return a name without the first of some endings that it has."""
    return next((name.removesuffix(ending) for ending in endings if name.endswith(ending)), name)


def read_indices(root: Path, file: Path, unlabelled: str | None) -> OwnDataset:
    """Read a data set of label images that hold numbers, which a file names.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if the names are not usable, or no image has a label image.
    """
    names = read_numbers(file)
    classes = decide_classes(names, unlabelled, origin=f"the names in {file}")
    table = {_IGNORED_VALUE: classes.ignore_label, **classes.index}
    return _dataset(root, "label-images", names, classes, lambda path: IndexLabels(path, table))


def read_masks(root: Path, file: Path, unlabelled: str | None) -> OwnDataset:
    """Read a data set of masks whose colours stand for classes, which a file names.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if the table of colours is not usable, or no image has a mask.
    """
    names, number_of = colour_table(file)
    classes = decide_classes(names, unlabelled, origin=f"the names in {file}")
    colours = {colour: classes.index[number] for colour, number in number_of.items()}
    return _dataset(root, "colour-masks", names, classes, lambda path: ColourLabels(path, colours))


def colour_table(file: Path) -> tuple[dict[int, Name], dict[Colour, int]]:
    """Read a table of colours: the names by number, each once, and the number of each colour.

    One class may have several colours.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not usable.
    """
    table = read_colours(file)
    number = {name: place for place, name in enumerate(dict.fromkeys(name for name, _ in table))}
    return {place: name for name, place in number.items()}, {colour: number[name] for name, colour in table}


def _dataset(
    root: Path, kind: str, names: Mapping[int, Name], classes: Classes, source: Callable[[Path], Labels]
) -> OwnDataset:
    samples, problems = [], []
    for image_folder, label_folder, split in folders(root):
        home = image_folder.parent if image_folder.name.casefold() in _FOLDERS else image_folder
        images, labels = _files(image_folder, label_folder)
        paired, unused = _paired(images, labels)
        if lonely := sorted(images.keys() - paired.keys()):
            problems.append(how_many(lonely, "image has no label map", "images have no label map"))
        if unused:
            problems.append(how_many(unused, "label map has no image", "label maps have no image"))
        for key, label in paired.items():
            first = key.split("/")[0] if "/" in key else ""
            name = key if home == root else f"{home.relative_to(root).as_posix()}/{key}"
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


def _files(image_folder: Path, label_folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return images and label images, each by their path in their folder, without suffix."""
    if image_folder != label_folder:
        return keyed(images_below(image_folder), image_folder), keyed(images_below(label_folder), label_folder)
    files = keyed(images_in(image_folder), image_folder)
    labels = {key: path for key, path in files.items() if _stem(key, _LABEL_ENDINGS) != key}
    return {key: path for key, path in files.items() if key not in labels}, labels


def _paired(images: Mapping[str, Path], labels: Mapping[str, Path]) -> tuple[dict[str, Path], list[str]]:
    """Give each image its label map, by its name or else without endings; and list the label maps without image."""
    without_ending = {_stem(key, _IMAGE_ENDINGS): key for key in images}
    paired: dict[str, Path] = {}
    unused: list[str] = []
    for key, label in labels.items():
        stem = _stem(key, _LABEL_ENDINGS)
        image = next((name for name in (key, stem, without_ending.get(stem)) if name in images), None)
        if image is None:
            unused.append(key)
        elif image in paired:
            raise InputError(f"{images[image]} has two label maps: {paired[image].name} and {label.name}")
        else:
            paired[image] = label
    return paired, unused
