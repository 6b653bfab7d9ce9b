"""What to do about data sets of formats that are known but not read."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from catseg.data.formats import label_images
from catseg.data.formats.dataset import MALFORMED
from catseg.data.formats.files import files_below, read_json, subfolder
from catseg.data.formats.names import read_yaml
from catseg.errors import InputError

_SNIFFED = 1 << 14  # bytes of an XML file
_MAX_FILES = 20  # that are looked into
_LARGEST = 1 << 26  # bytes of a JSON file that is looked into
_YAML, _JSON, _XML = (".yaml", ".yml"), (".json",), (".xml",)


def advice(path: Path) -> str:
    """Say what a file or folder is that no reader knows, and what to do about it; "" if that is not known either."""
    files = [path] if path.is_file() else sorted(entry for entry in path.iterdir() if entry.is_file())
    found = (hint for file in files[:_MAX_FILES] if (hint := _advice_on_file(file)))
    return next(found, "") or (_advice_on_folder(path) if path.is_dir() else "")


def _advice_on_file(file: Path) -> str:
    suffix = file.suffix.lower()
    try:
        if suffix in _YAML:
            return _yaml(file)
        if suffix in _XML:
            return _xml(file)
        if suffix in _JSON and file.stat().st_size <= _LARGEST:
            return _json(file)
    except InputError as error:
        return str(error)
    except MALFORMED:
        return ""
    return ""


def _yaml(file: Path) -> str:
    content = read_yaml(file)
    if isinstance(content, Mapping) and "names" in content:
        return f"{file} has names, but neither train nor val, the folders of images"
    return ""


def _xml(file: Path) -> str:
    with file.open("rb") as opened:
        begin = opened.read(_SNIFFED)
    if b"<annotations" in begin and b"<image" in begin:
        return (
            f'{file} is of CVAT\'s own format: export the task as "COCO 1.0" or, with images, "Segmentation mask 1.1"'
        )
    if b"<annotations" in begin and b"<track" in begin:
        return f'{file} is of CVAT\'s format for videos: export the task as "Segmentation mask 1.1", with images'
    return f"{file} holds boxes of PASCAL VOC, not masks" if b"<annotation>" in begin and b"<bndbox" in begin else ""


def _json(file: Path) -> str:
    content = read_json(file)
    if isinstance(content, list) and content and _has(content[0], "annotations", "data"):
        return f"{file} is of Label Studio's own format: export polygons as COCO with images, brushed masks as PNG"
    if _has(content, "classes", "tags") and any(file.parent.glob("*/ann")):
        return f"{file.parent} is a project of Supervisely: export it as COCO, or as Pascal VOC with masks"
    if _has(content, "labels", "version") and all(_has(label, "readable") for label in content["labels"][:1]):
        return (
            f"{file} is of Mapillary Vistas: put its images and labels into images/ and labels/, and their names, in "
            "the order of the file, one per line into classes.txt"
        )
    regions = content.get("_via_img_metadata", content) if isinstance(content, Mapping) else {}
    if any(_has(entry, "regions", "filename") for entry in regions.values()):
        return f"{file} is of VGG Image Annotator's own format: export it as COCO"
    return ""


def _has(content: Any, *keys: str) -> bool:
    return isinstance(content, Mapping) and all(key in content for key in keys)


def _advice_on_folder(path: Path) -> str:
    labels = subfolder(path, ["labels"])
    if labels and files_below(labels, [".txt"]) and subfolder(path, ["images"]):
        return (
            f"{labels} holds text files as YOLO has them: write {path / 'data.yaml'} with the keys train and val, the "
            "folders of images, and names"
        )
    if pairs := label_images.folders(path):
        images, labels, _ = pairs[0]
        return (
            f"{images} and {labels} look like images and label images, but what they show is nowhere: put a list of "
            f"the classes, such as classes.txt with one name per line, or a table of the colours, such as colors.csv "
            f"with the columns name, r, g, b, into {path}"
        )
    return ""


def within(path: Path, known: Callable[[Path], str | None]) -> str:
    """Say which folder in a folder, or in one of these, is a data set; "" if none is.

    Args:
        path: the folder.
        known: returns the name of a folder's format.
    """
    if not path.is_dir():
        return ""
    inside = [entry for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    deeper = [entry for place in inside for entry in sorted(place.iterdir()) if entry.is_dir()]
    found = [f"{place} ({kind})" for place in (*inside, *deeper)[:_MAX_FILES] if (kind := known(place))]
    return f"name one of the folders in it: {', '.join(found)}" if found else ""
