"""An image that somebody gave: checked before it is decoded, and kept nowhere but in memory."""

import base64
import binascii
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catseg.app.limits import Limits
from catseg.errors import InputError
from catseg.image_files import read_file
from catseg.image_io import read_image

_BYTES = "the image given as bytes"  # how errors of the package's readers begin


@dataclass(frozen=True, eq=False)
class Photo:
    """An image.

    Attributes:
        image: RGB 0..255, upright, (H, W, 3).
        digest: of its file: images with the same one are the same.
        name: of its file, as its owner calls it.
    """

    image: NDArray[np.uint8]
    digest: str
    name: str

    def describe(self) -> str:
        """Say how large it is."""
        height, width = self.image.shape[:2]
        return f"{width} x {height} pixels"


def take_upload(path: Path, name: str, limits: Limits) -> Photo:
    """Read an uploaded file and delete it.

    Args:
        path: where it is.
        name: what its owner calls it.
        limits: of bytes and pixels.

    Raises:
        ValueError: if it is gone, too large or no image.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limits.file_bytes + 1)
            size, time = os.fstat(file.fileno()).st_size, os.fstat(file.fileno()).st_mtime_ns
        # The same image of somebody else has the same path, and a later time: it is theirs to use up.
        if path.stat().st_mtime_ns == time:
            path.unlink()
            with suppress(OSError):  # of another upload, too
                path.parent.rmdir()
    except FileNotFoundError:
        raise InputError("the upload is no longer here: give the image again") from None
    limits.check_bytes(size)
    return read_photo(content, name, limits)


def take_data_url(url: str, name: str, limits: Limits) -> Photo:
    """Read an image that was given as a `data:` URL in base64.

    Raises:
        ValueError: if it is not that, too large or no image.
    """
    head, comma, text = url.partition(",")
    limits.check_bytes(len(text) * 3 // 4)
    try:
        if not comma or not head.endswith(";base64"):
            raise InputError('a data URL begins with "data:image/png;base64,"')
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InputError(f"the data URL holds no valid base64: {error}") from error
    return read_photo(content, name, limits)


def read_photo(content: bytes, name: str, limits: Limits) -> Photo:
    """Decode an image, unless it has too many pixels.

    Args:
        content: of its file, in a format that Pillow reads.
        name: what its owner calls it.
        limits: of pixels.

    Raises:
        ValueError: if it is too large or no image.
    """
    limits.check_bytes(len(content))
    try:
        limits.check_size(*read_file(content, lambda image: image.size))
        image = read_image(content)
    except InputError as error:
        raise InputError(str(error).replace(_BYTES, "the file")) from error
    return Photo(image, hashlib.sha256(content).hexdigest(), Path(name).name)
