"""Shapes in the formats of labelling tools. Coordinates are pixels of the original image, unless said otherwise.

All functions take the classes that the image has, as `catseg.api.shapes` makes them, and its size (H, W). `tolerance`
is that of polygons, in pixels: see `catseg.api.polygons`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseg.api.polygons import Ring
from catseg.api.shapes import Shape
from catseg.errors import RunError

_RLE_WORD, _RLE_SIZES = 8, (3, 4, 8, 16)  # bits of a value, and of the lengths that Label Studio's RLE chooses from


def to_coco(shapes: Sequence[Shape], size: tuple[int, int], names: Sequence[str], file_name: str) -> dict[str, Any]:
    """Return a COCO data set of one image, as JSON: a "stuff" annotation for each class, as compressed RLE.

    Category numbers are those of the classes plus 1.
    """
    from pycocotools import mask as coco_mask

    annotations: list[dict[str, Any]] = []
    for shape in shapes:
        encoded = coco_mask.encode(np.asfortranarray(shape.mask.astype(np.uint8)))
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": 1,
                "category_id": shape.index + 1,
                "segmentation": {"size": list(size), "counts": encoded["counts"].decode("ascii")},
                "area": int(shape.mask.sum()),
                "bbox": [float(value) for value in coco_mask.toBbox(encoded)],
                "iscrowd": 0,
                "score": shape.score,
            }
        )
    return {
        "images": [{"id": 1, "file_name": file_name, "height": size[0], "width": size[1]}],
        "annotations": annotations,
        "categories": [{"id": place + 1, "name": name, "isthing": 0} for place, name in enumerate(names)],
    }


def to_labelme(shapes: Sequence[Shape], size: tuple[int, int], file_name: str, *, tolerance: float) -> dict[str, Any]:
    """Return labelme's JSON: polygons, into which regions with holes are cut."""
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": [
            {
                "label": shape.name,
                "points": [[float(x), float(y)] for x, y in polygon.outline],
                "group_id": None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for shape in shapes
            for polygon in shape.polygons(holes=False, tolerance=tolerance)
        ],
        "imagePath": file_name,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }


def to_geojson(shapes: Sequence[Shape], *, tolerance: float) -> dict[str, Any]:
    """Return a GeoJSON feature for each class, a MultiPolygon; y runs downwards, as rows of pixels do."""
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "MultiPolygon",
                "coordinates": [
                    [_closed(ring) for ring in (polygon.outline, *polygon.holes)]
                    for polygon in shape.polygons(tolerance=tolerance)
                ],
            },
            "properties": {
                "name": shape.name,
                "class": shape.index,
                "pixels": int(shape.mask.sum()),
                "score": shape.score,
            },
        }
        for shape in shapes
    ]
    return {"type": "FeatureCollection", "features": features}


def to_label_studio(
    shapes: Sequence[Shape],
    size: tuple[int, int],
    *,
    from_name: str,
    to_name: str,
    labels: Sequence[str],
    polygons: bool,
    tolerance: float,
) -> dict[str, Any]:
    """Return a prediction for Label Studio: a brush region for each class, or polygons, cut where they have holes.

    Args:
        shapes: as above.
        size: as above.
        from_name: of the `BrushLabels` or `PolygonLabels` in the labelling configuration.
        to_name: of the `Image` in it.
        labels: what the configuration calls the classes.
        polygons: whether they are polygons. Their corners are in percent of the image.
        tolerance: as above.
    """
    kind = "polygonlabels" if polygons else "brushlabels"
    result = [
        {
            "id": f"{from_name}-{shape.index}" + (f"-{place}" if polygons else ""),
            "type": kind,
            "from_name": from_name,
            "to_name": to_name,
            "original_width": size[1],
            "original_height": size[0],
            "image_rotation": 0,
            "score": shape.score,
            "value": {**value, kind: [labels[shape.index]]},
        }
        for shape in shapes
        for place, value in enumerate(_polygon_values(shape, size, tolerance) if polygons else [_brush_value(shape)])
    ]
    score = float(np.mean([shape.score for shape in shapes])) if shapes else 0.0
    return {"model_version": "catseg", "score": score, "result": result}


def to_supervision(shapes: Sequence[Shape]) -> Any:
    """Return `supervision.Detections` with a mask for each class.

    Raises:
        RuntimeError: if supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise RunError("to_supervision needs the package supervision: pip install supervision") from error
    if not shapes:
        return supervision.Detections.empty()
    return supervision.Detections(
        xyxy=np.array([shape.box for shape in shapes], dtype=np.float32),
        mask=np.stack([shape.mask for shape in shapes]),
        class_id=np.array([shape.index for shape in shapes]),
        confidence=np.array([shape.score for shape in shapes], dtype=np.float32),
        data={"class_name": np.array([shape.name for shape in shapes])},
    )


def image_name(source: Path | None) -> str:
    """Return what files of labelling tools call an image."""
    return source.name if source else ""


def _closed(ring: Ring) -> list[list[int]]:
    return [[x, y] for x, y in (*ring, ring[0])]


def _polygon_values(shape: Shape, size: tuple[int, int], tolerance: float) -> list[dict[str, Any]]:
    height, width = size
    return [
        {"points": [[100 * x / width, 100 * y / height] for x, y in polygon.outline], "closed": True}
        for polygon in shape.polygons(holes=False, tolerance=tolerance)
    ]


def _brush_value(shape: Shape) -> dict[str, Any]:
    return {"format": "rle", "rle": _label_studio_rle(shape.mask)}


def _label_studio_rle(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask as Label Studio's brush reads it: runs of the bytes of an RGBA image, bit by bit.

    A header holds the number of bytes and the sizes in use; each run is a 1, which of the sizes its length has, the
    length less 1, and the byte.
    """
    pixels = mask.ravel()
    borders = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1, [pixels.size]])
    bits = [f"{4 * pixels.size:032b}", f"{_RLE_WORD - 1:05b}", *(f"{size - 1:04b}" for size in _RLE_SIZES)]
    for start, end in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        byte = f"{255 * int(pixels[start]):08b}"
        left = 4 * (end - start)
        while left:
            length = min(left, 1 << _RLE_SIZES[-1])
            kind = next(kind for kind, size in enumerate(_RLE_SIZES) if length <= 1 << size)
            bits.append(f"1{kind:02b}{length - 1:0{_RLE_SIZES[kind]}b}{byte}")
            left -= length
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]
