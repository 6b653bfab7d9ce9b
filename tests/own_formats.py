"""Small data sets, written as the tools write them."""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 12, 16
NAMES = ["grass", "sofa", "night sky"]
COLOURS = {"background": (0, 0, 0), "grass": (128, 0, 0), "sofa": (0, 128, 0), "night sky": (128, 128, 0)}


def photo(path: Path, seed: int = 0, *, size=(HEIGHT, WIDTH), orientation: int = 1) -> Path:
    """A file of noise; its suffix says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, **({"exif": exif} if orientation != 1 else {}))
    return path


def mask(path: Path, values, *, palette: bool = False, bits: int = 8) -> Path:
    """A file of numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values).astype(np.uint8 if bits == 8 else np.uint16))
    if palette:
        image.putpalette([channel for number in range(256) for channel in (number, 255 - number, 7)])
    image.save(path)
    return path


def coloured(path: Path, values, colours) -> Path:
    """A file of colours; `colours` are by number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = np.array([colours[number] for number in range(len(colours))], dtype=np.uint8)
    Image.fromarray(table[np.asarray(values)]).save(path)
    return path


def bands(*numbers, size=(HEIGHT, WIDTH)) -> np.ndarray:
    """A label map of vertical bands of equal width."""
    return np.repeat(np.array(numbers), size[1] // len(numbers))[None].repeat(size[0], axis=0)


def text(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)
    return path


def coco(path: Path, images, annotations, categories) -> Path:
    """`images`: (id, file name, height, width); `annotations`: (image, category, segmentation)."""
    content = {
        "info": {},
        "images": [{"id": i, "file_name": name, "height": h, "width": w} for i, name, h, w in images],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0, "area": 1}
            for i, (image, category, segmentation) in enumerate(annotations)
        ],
        "categories": [{"id": i, "name": name, "supercategory": ""} for i, name in categories.items()],
    }
    return text(path, json.dumps(content))


def labelme(path: Path, image_path: str, shapes, *, size=(HEIGHT, WIDTH), image_data=None, encoding="utf-8") -> Path:
    """`shapes`: (label, kind, points) or (label, kind, points, mask)."""
    content = {
        "version": "5.5.0",
        "flags": {},
        "shapes": [
            {
                "label": label,
                "points": points,
                "group_id": None,
                "description": "",
                "shape_type": kind,
                "flags": {},
                "mask": more[0] if more else None,
            }
            for label, kind, points, *more in shapes
        ],
        "imagePath": image_path,
        "imageData": image_data,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }
    return text(path, json.dumps(content, ensure_ascii=False), encoding)


def as_base64(pixels) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()
