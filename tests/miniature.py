"""A few real photographs in the shape of ADE20K and of COCO-Stuff, as those are downloaded.

The photographs come inside the wheels of scikit-image and scikit-learn. Their labels are made by grouping colours:
regions that follow the image, with class values as in the original files, unlabelled pixels included.
"""

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_images

_BLOCK = 8  # side of the smallest region in pixels
_REGIONS = 6
_ADE20K_VALUES = (0, 3, 10, 5, 13, 150, 1, 27, 22, 35)  # 0 is unlabelled
_COCO_STUFF_VALUES = (255, 156, 123, 168, 0, 181, 11, 16, 94, 154)  # 255 and 11 are no class


def photographs() -> list[np.ndarray]:
    """Real photographs of several sizes and shapes, RGB uint8 (H, W, 3)."""
    bundled = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()]
    return [*bundled, *load_sample_images().images]


def make_miniature_ade20k(root: str | Path, n: int, longest_side: int = 256) -> Path:
    """Write `n` images per split in the format of ADEChallengeData2016; returns that folder."""
    folder = Path(root) / "ADEChallengeData2016"
    names = {"training": "ADE_train_{:08d}", "validation": "ADE_val_{:08d}"}
    return _make(folder, names, _ADE20K_VALUES, n, longest_side)


def make_miniature_coco_stuff(root: str | Path, n: int, longest_side: int = 256) -> Path:
    """Write `n` images per split in the format of COCO 2017 with stuffthingmaps; returns that folder."""
    folder = Path(root) / "coco-stuff"
    return _make(folder, {"train2017": "{:012d}", "val2017": "{:012d}"}, _COCO_STUFF_VALUES, n, longest_side)


def _make(folder: Path, names: dict[str, str], values: tuple[int, ...], n: int, longest_side: int) -> Path:
    for start, (split, name) in zip(range(0, 2 * n, n), names.items(), strict=True):
        for index, image in enumerate(make_images(n, longest_side, start), 1):
            image_path = folder / "images" / split / f"{name.format(index)}.jpg"
            label_path = folder / "annotations" / split / f"{name.format(index)}.png"
            for path in (image_path, label_path):
                path.parent.mkdir(parents=True, exist_ok=True)
            image.save(image_path, quality=90)
            Image.fromarray(make_labels(image, np.roll(values, 3 * index))).save(label_path)
    return folder


def make_images(n: int, longest_side: int, start: int = 0) -> list[Image.Image]:
    """`n` images from the `start`-th on; after the last photograph they come again, mirrored or upside down."""
    sources = photographs()
    turns = (None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_180)
    made = []
    for index in range(start, start + n):
        image = Image.fromarray(sources[index % len(sources)])
        turn = turns[index // len(sources) % len(turns)]
        image = image if turn is None else image.transpose(turn)
        image.thumbnail((longest_side, longest_side))
        made.append(image)
    return made


def make_labels(image: Image.Image, values: np.ndarray) -> np.ndarray:
    """Regions of similar colour, uint8 (H, W), with the first of `values`."""
    blocks = image.resize([max(1, side // _BLOCK) for side in image.size], Image.Resampling.BOX)
    regions = blocks.quantize(_REGIONS, method=Image.Quantize.MEDIANCUT).resize(image.size, Image.Resampling.NEAREST)
    return values.astype(np.uint8)[np.asarray(regions)]
