"""Label maps in the formats of labelling tools. Coordinates are pixels of the original image.

All functions take a label map (H, W) of indices into `names`, where other values are pixels without a class, and the
mean score of each class where the format holds one. Classes that no pixel has are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseg.api.polygons import Ring, polygons
from catseg.errors import RunError

_RLE_WORD, _RLE_SIZES = 8, (3, 4, 8, 16)  # bits of a value, and of the lengths that Label Studio's RLE chooses from


def class_masks(labels: NDArray[np.integer], names: Sequence[str]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield the classes that pixels have, each with its mask (H, W)."""
    for place in np.unique(labels[(labels >= 0) & (labels < len(names))]):
        yield int(place), labels == place


def to_coco(labels: NDArray[np.integer], names: Sequence[str], file_name: str, scores: Mapping[int, float]) -> Any:
    """Return a COCO data set of one image, as JSON: a "stuff" annotation for each class, as compressed RLE.

    Category numbers are those of the classes plus 1.
    """
    from pycocotools import mask as coco_mask

    annotations: list[dict[str, Any]] = []
    for place, mask in class_masks(labels, names):
        encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": 1,
                "category_id": place + 1,
                "segmentation": {"size": list(labels.shape), "counts": encoded["counts"].decode("ascii")},
                "area": int(mask.sum()),
                "bbox": [float(value) for value in coco_mask.toBbox(encoded)],
                "iscrowd": 0,
                "score": scores[place],
            }
        )
    height, width = labels.shape
    return {
        "images": [{"id": 1, "file_name": file_name, "height": height, "width": width}],
        "annotations": annotations,
        "categories": [{"id": place + 1, "name": name, "isthing": 0} for place, name in enumerate(names)],
    }


def to_labelme(labels: NDArray[np.integer], names: Sequence[str], file_name: str) -> Any:
    """Return labelme's JSON: a polygon for each region, with holes joined to the outline."""
    shapes: list[dict[str, Any]] = [
        {
            "label": names[place],
            "points": [[float(x), float(y)] for x, y in region.as_one_ring()],
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for place, mask in class_masks(labels, names)
        for region in polygons(mask)
    ]
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": file_name,
        "imageData": None,
        "imageHeight": labels.shape[0],
        "imageWidth": labels.shape[1],
    }


def to_geojson(labels: NDArray[np.integer], names: Sequence[str], scores: Mapping[int, float]) -> Any:
    """Return a GeoJSON feature for each class, a MultiPolygon; y runs downwards, as rows of pixels do."""
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "MultiPolygon",
                "coordinates": [
                    [_closed(ring) for ring in (region.outline, *region.holes)] for region in polygons(mask)
                ],
            },
            "properties": {"name": names[place], "class": place, "pixels": int(mask.sum()), "score": scores[place]},
        }
        for place, mask in class_masks(labels, names)
    ]
    return {"type": "FeatureCollection", "features": features}


def to_label_studio(
    labels: NDArray[np.integer],
    names: Sequence[str],
    scores: Mapping[int, float],
    *,
    from_name: str = "tag",
    to_name: str = "image",
) -> Any:
    """Return a prediction for Label Studio: a brush region for each class.

    Args:
        labels: as above.
        names: as above.
        scores: as above.
        from_name: of the `BrushLabels` in the labelling configuration.
        to_name: of the `Image` in it.
    """
    height, width = labels.shape
    result = [
        {
            "id": f"class-{place}",
            "type": "brushlabels",
            "from_name": from_name,
            "to_name": to_name,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": scores[place],
            "value": {"format": "rle", "rle": _label_studio_rle(mask), "brushlabels": [names[place]]},
        }
        for place, mask in class_masks(labels, names)
    ]
    return {"model_version": "catseg", "result": result}


def to_supervision(labels: NDArray[np.integer], names: Sequence[str], scores: Mapping[int, float]) -> Any:
    """Return `supervision.Detections` with a mask for each class.

    Raises:
        RuntimeError: if supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise RunError("to_supervision needs the package supervision: pip install supervision") from error
    found = list(class_masks(labels, names))
    if not found:
        return supervision.Detections.empty()
    masks = np.stack([mask for _, mask in found])
    places = [place for place, _ in found]
    return supervision.Detections(
        xyxy=np.array([_box(mask) for mask in masks], dtype=np.float32),
        mask=masks,
        class_id=np.array(places),
        confidence=np.array([scores[place] for place in places], dtype=np.float32),
        data={"class_name": np.array([names[place] for place in places])},
    )


def image_name(source: Path | None) -> str:
    """Return what files of labelling tools call an image."""
    return source.name if source else ""


def _closed(ring: Ring) -> list[list[int]]:
    return [[x, y] for x, y in (*ring, ring[0])]


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


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
