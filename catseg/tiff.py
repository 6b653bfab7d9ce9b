"""What the directory of a TIFF or BigTIFF file says, of files that Pillow does not read."""

import struct

from PIL import ExifTags, TiffTags

from catseg.exif import orientation_of


def is_tiff(content: bytes) -> bool:
    """Tell whether a file is TIFF or BigTIFF."""
    return content.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))


def is_planar(content: bytes) -> bool:
    """Tell whether a TIFF file stores its channels one after another, and not pixel by pixel."""
    return (
        _value(content, ExifTags.Base.PlanarConfiguration) == 2 and _value(content, ExifTags.Base.SamplesPerPixel) > 1
    )


def pixel_count(content: bytes) -> int:
    """Return how many pixels a TIFF file has."""
    return _value(content, ExifTags.Base.ImageWidth) * _value(content, ExifTags.Base.ImageLength)


def bits_per_sample(content: bytes) -> int:
    """Return how many bits a number of a TIFF file has."""
    return _value(content, ExifTags.Base.BitsPerSample)


def tiff_has_white_as_0(content: bytes) -> bool:
    """Tell whether a TIFF file stores white as 0."""
    return _value(content, ExifTags.Base.PhotometricInterpretation) == 0


def tiff_orientation(content: bytes) -> int:
    """Return the orientation of a TIFF file, 1..8, as `catseg.exif.exif_orientation` does."""
    return orientation_of({ExifTags.Base.Orientation: _value(content, ExifTags.Base.Orientation)})


def without_orientation(content: bytes) -> bytes:
    """Return a TIFF file whose orientation is 1, so that decoding it turns nothing."""
    position = _position(content, ExifTags.Base.Orientation)
    if position is None:
        return content
    order, _, address = _layout(content)
    upright = struct.pack(f"{order}HH{address}H", ExifTags.Base.Orientation, TiffTags.SHORT, 1, 1)
    return content[:position] + upright + content[position + len(upright) :]


def _value(content: bytes, tag: int) -> int:
    """Return the first value of a tag of whole numbers; 1, which is the default of those above, if it is not there."""
    position = _position(content, tag)
    if position is None:
        return 1
    order, _, address = _layout(content)
    kind, count = struct.unpack_from(f"{order}H{address}", content, position + 2)
    number = order + ("H" if kind == TiffTags.SHORT else "I")
    position += struct.calcsize(f"{order}HH{address}")
    if count * struct.calcsize(number) > struct.calcsize(order + address):  # the values are elsewhere
        (position,) = struct.unpack_from(order + address, content, position)
    return int(struct.unpack_from(number, content, position)[0])


def _position(content: bytes, tag: int) -> int | None:
    """Return where the entry of a tag begins in the first directory of a file, None if there is none."""
    order, count, address = _layout(content)
    (directory,) = struct.unpack_from(order + address, content, struct.calcsize(order + address))
    (entries,) = struct.unpack_from(order + count, content, directory)
    start, size = directory + struct.calcsize(order + count), struct.calcsize(f"{order}HH{address}{address}")
    for position in range(start, start + entries * size, size):
        if struct.unpack_from(f"{order}H", content, position)[0] == tag:
            return position
    return None


def _layout(content: bytes) -> tuple[str, str, str]:
    """Return byte order, type of a directory's number of entries and type of addresses, as `struct` calls them."""
    order = "<" if content.startswith(b"II") else ">"
    return (order, "Q", "Q") if content[2:4] in (b"+\0", b"\0+") else (order, "H", "I")
