"""PASCAL VOC's layout, and the exports of CVAT and Datumaro that have it ("Segmentation mask").

`JPEGImages/`, `SegmentationClass/*.png` and `ImageSets/Segmentation/*.txt`. With `labelmap.txt`, masks are read by
their colours, whose names it gives ("cvat"): neither its order nor palettes are reliable. Without, numbers are those
of PASCAL VOC, or the lines of `class_names.txt` as labelme's exporter writes it, and 255 is void ("voc").
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from catseg.data.formats.classes import Classes, Name, decide_classes, ignored_names
from catseg.data.formats.dataset import Labels, OwnDataset, OwnSample
from catseg.data.formats.files import (
    by_split,
    composed,
    how_many,
    images_below,
    keyed,
    portable,
    read_text,
    split_of,
    subfolder,
)
from catseg.data.formats.label_files import ColourLabels, PaletteLabels, voc_colours
from catseg.data.formats.label_images import colour_table, named_file
from catseg.data.formats.names import NAME_FILES, read_numbers
from catseg.errors import InputError
from catseg.vocabulary import load_vocabulary

_MASKS = ("SegmentationClass", "SegmentationClassPNG")
_IMAGES = ("JPEGImages", "images")
_VOID = 255
LABEL_MAP = "labelmap.txt"


def home(folder: Path) -> Path | None:
    """Return the folder that holds the masks: `folder`, or, of a VOCdevkit, the only one in it that does."""
    places = [folder, *(path for path in sorted(folder.iterdir()) if path.is_dir())]
    found = [place for place in places if subfolder(place, _MASKS)]
    if len(found) > 1:
        raise InputError(f"{folder} holds several data sets: name one of {', '.join(map(str, found))}")
    return found[0] if found else None


def read(folder: Path, unlabelled: str | None) -> OwnDataset:
    """Read a data set by numbers ("voc") or, if there is a labelmap.txt, by colours ("cvat").

    Raises:
        OSError: if a file cannot be read.
        ValueError: if a list of names or colours is not usable, or there are no images.
    """
    root = home(folder)
    if root is None:
        raise InputError(f"{folder} has no folder {' or '.join(_MASKS)}")
    by_colour = (root / LABEL_MAP).is_file()
    names, classes, source = (_by_colour if by_colour else _by_number)(root, unlabelled)
    masks = keyed(images_below(_folder(root, _MASKS)), _folder(root, _MASKS))
    image_folder = subfolder(root, _IMAGES)
    if image_folder is None:
        raise InputError(
            f"{root} has masks but no images in {_IMAGES[0]}: export with images, or copy them there "
            "under the names of the masks"
        )
    images = keyed(images_below(image_folder), image_folder)
    listed, notes = _image_sets(root)
    wanted = {name: split for split, names_of_split in listed.items() for name in names_of_split}
    wanted = wanted or dict.fromkeys(masks, "train")
    if not any(name in masks for name, split in wanted.items() if split == "test"):
        wanted = {name: split for name, split in wanted.items() if split != "test"}
        if count := len(listed.get("test", ())):
            notes.append(f"{count} images of the test split are left out: they have no masks")
    problems = [
        how_many(missing, f"image of the lists has no {kind}", f"images of the lists have no {kind}")
        for kind, missing in (
            ("image file", sorted(wanted.keys() - images.keys())),
            ("mask", sorted(wanted.keys() - masks.keys())),
        )
        if missing
    ]
    if unlisted := sorted(masks.keys() - wanted.keys()):
        notes.append(how_many(unlisted, "mask is in no list and left out", "masks are in no list and left out"))
    if ignored := ignored_names(names, classes):
        notes.append(f"ignored classes: {', '.join(ignored)}")
    return OwnDataset(
        path=folder,
        format="cvat" if by_colour else "voc",
        vocabulary=classes.vocabulary,
        ignore_label=classes.ignore_label,
        unlabelled=classes.statement,
        splits=by_split(
            (split, OwnSample(name, images[name], source(masks[name])))
            for name, split in wanted.items()
            if name in images and name in masks
        ),
        notes=tuple(notes),
        problems=tuple(problems),
    )


Source = Callable[[Path], Labels]


def _by_colour(root: Path, unlabelled: str | None) -> tuple[Mapping[int, Name], Classes, Source]:
    names, number_of = colour_table(root / LABEL_MAP)
    classes = decide_classes(names, unlabelled, origin=f"the names in {root / LABEL_MAP}")
    colours = {(0, 0, 0): classes.rest, **{colour: classes.index[number] for colour, number in number_of.items()}}
    return names, classes, lambda path: ColourLabels(path, colours)


def _by_number(root: Path, unlabelled: str | None) -> tuple[Mapping[int, Name], Classes, Source]:
    file = named_file(root, NAME_FILES)
    names: dict[int, Name]
    if file is None:
        names = dict(enumerate(["background", *load_vocabulary("pascal_voc_20").synonyms]))
    else:
        names = read_numbers(file)
    origin = "PASCAL VOC's classes" if file is None else f"the names in {file}"
    classes = decide_classes(names, unlabelled, origin=origin)
    table = {_VOID: classes.ignore_label, **classes.index}
    palette = voc_colours()
    colours = {palette[number]: label for number, label in table.items() if 0 <= number < 256}
    return names, classes, lambda path: PaletteLabels(path, table, colours)


def _folder(root: Path, names: tuple[str, ...]) -> Path:
    """Return the folder of masks; labelme's exporter has arrays in the first and images in the second."""
    folders = [folder for name in names if (folder := subfolder(root, [name])) is not None]
    return next((folder for folder in folders if images_below(folder)), folders[0])


def _image_sets(root: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Read the lists of images, by split; "trainval" only if there is no "train"."""
    folder = root / "ImageSets" / "Segmentation"
    files = {path.stem: path for path in sorted(folder.glob("*.txt"))} if folder.is_dir() else {}
    notes = []
    if len(files) > 1 and "trainval" in files and any(split_of(name) == "train" for name in files):
        notes.append("ImageSets/Segmentation/trainval.txt is left out: it holds the images of other lists again")
        del files["trainval"]
    found: dict[str, list[str]] = {}
    for name, path in files.items():
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        found.setdefault(split_of(name) or "train", []).extend(composed(str(portable(line))) for line in lines)
    return found, notes
