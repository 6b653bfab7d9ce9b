"""Which images a call means: one image, or a stream of many."""

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from catseg.errors import InputError
from catseg.image_io import read_image, to_rgb
from catseg.segmenting.inputs import find_images

ImageLike = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any] | torch.Tensor
ImagesLike = ImageLike | Iterable[ImageLike]

_NOWHERE = Path(os.devnull)  # the output folder of a search whose results go nowhere


@dataclass(frozen=True, eq=False)
class ImageSource:
    """An image that is read when its turn comes.

    Attributes:
        image: what the caller gave.
        path: the file, if it is one.
    """

    image: ImageLike
    path: Path | None = None

    def read(self) -> NDArray[np.uint8]:
        """Return RGB 0..255, upright, (H, W, 3).

        Raises:
            FileNotFoundError, ValueError, OSError: as `read_image` and `to_rgb`.
        """
        if self.path is not None:
            return read_image(self.path)
        if isinstance(self.image, bytes | bytearray | memoryview):
            return read_image(bytes(self.image))
        return to_rgb(self.image)  # type: ignore[arg-type]  # which says what it expects


def is_one_image(images: Any) -> bool:
    """Tell whether a call gives one image, and not a folder, a pattern or a series of them.

    Raises:
        ValueError: if it gives none of these.
    """
    if isinstance(images, str | os.PathLike):
        path = Path(images).expanduser()
        return not path.is_dir() and (path.exists() or not glob.has_magic(str(images)))
    if isinstance(images, bytes | bytearray | memoryview | Image.Image):
        return True
    if isinstance(images, np.ndarray | torch.Tensor):
        return images.ndim < 4  # a batch is a series
    if isinstance(images, Iterable):
        return False
    raise InputError(
        "expected an image (a path, bytes, a PIL image, an array or a tensor), a folder, a pattern, or several of "
        f"these, got {type(images).__name__}"
    )


def image_sources(images: Any) -> Iterator[ImageSource]:
    """Yield the images of a call in order; files of folders and patterns by name, subfolders included.

    Raises:
        FileNotFoundError: if a folder or pattern holds no image.
        ValueError: if there is none of an image file's suffix in it, or an item is no image.
    """
    if isinstance(images, str | os.PathLike):
        if is_one_image(images):
            yield ImageSource(images, Path(images).expanduser())
        else:
            found, _ = find_images([os.fspath(images)], _NOWHERE, recursive=True)
            yield from (ImageSource(image.path, image.path) for image in found)
    elif is_one_image(images):
        yield ImageSource(images)
    else:
        for item in images:
            if isinstance(item, list | tuple):
                raise InputError("the images of a series are given one by one, not in lists within it")
            if not isinstance(item, str | os.PathLike):
                yield from image_sources(item)
                continue
            try:
                yield from image_sources(item)
            except (FileNotFoundError, InputError):  # an empty folder or pattern fails like a bad image: by itself
                yield ImageSource(item, Path(item).expanduser())
