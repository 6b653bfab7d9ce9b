"""Image files of kinds that Pillow does not write, put together byte by byte."""

import struct
import zlib

import numpy as np

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # kinds of PNG


def png_chunk(kind, content):
    """A chunk of a PNG file, with length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples, *, bits, kind=GREY, extra=b""):
    """A PNG file of samples (H, W) or (H, W, C); `extra` are chunks before the pixels."""
    height, width = samples.shape[:2]
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    rows = b"".join(b"\0" + packed(row, bits, ">") for row in samples.reshape(height, -1))
    pixels = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + pixels


def tiff(samples, *, bits, white_is_0=False, sample_format=1, planar=False, orientation=1):
    """An uncompressed little-endian TIFF file of samples (H, W), or (H, W, 3), one channel after another if `planar`.

    The sample format is 1 for unsigned, 2 for signed and 3 for floating-point numbers.
    """
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    ordered = np.moveaxis(samples, -1, 0).reshape(-1, width) if planar else samples.reshape(height, -1)
    pixels = b"".join(packed(row, bits, "<") for row in ordered)
    pixels += b"\0" * (len(pixels) % 2)
    size = len(pixels) // (channels if planar else 1)
    offsets = struct.pack(f"<{channels}I", *(8 + size * channel for channel in range(channels)))
    counts = struct.pack(f"<{channels}I", *[size] * channels)
    shorts = struct.pack(f"<{channels}H", *[bits] * channels)
    formats = struct.pack(f"<{channels}H", *[sample_format] * channels)
    strips = channels if planar else 1
    entries = [
        (256, 4, 1, struct.pack("<I", width)),
        (257, 4, 1, struct.pack("<I", height)),
        (258, 3, channels, shorts),
        (259, 3, 1, struct.pack("<H", 1)),
        (262, 3, 1, struct.pack("<H", 2 if channels > 1 else 0 if white_is_0 else 1)),
        (273, 4, strips, offsets[: 4 * strips]),
        (274, 3, 1, struct.pack("<H", orientation)),
        (277, 3, 1, struct.pack("<H", channels)),
        (278, 4, 1, struct.pack("<I", height)),
        (279, 4, strips, counts[: 4 * strips]),
        (284, 3, 1, struct.pack("<H", 2 if planar else 1)),
        (339, 3, channels, formats),
    ]
    position = 8 + len(pixels) + 2 + 12 * len(entries) + 4
    directory, values = struct.pack("<H", len(entries)), b""
    for tag, kind, count, content in entries:
        inline = len(content) <= 4
        field = content.ljust(4, b"\0") if inline else struct.pack("<I", position + len(values))
        values += b"" if inline else content
        directory += struct.pack("<HHI", tag, kind, count) + field
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory + b"\0" * 4 + values


def bmp(samples, *, bits, greys):
    """A BMP file of palette indices (H, W) and a grey palette."""
    height, width = samples.shape
    rows = [packed(row, bits, "<") for row in samples[::-1]]
    pixels = b"".join(row + b"\0" * (-len(row) % 4) for row in rows)
    palette = b"".join(bytes([grey, grey, grey, 0]) for grey in greys)
    start = 54 + len(palette)
    header = struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    header += struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(pixels), 0, 0, len(greys), 0)
    return b"BM" + header + palette + pixels


def packed(row, bits, order):
    """A row of samples of a type of `bits` bits; those of fewer bits than 8 or 16 share bytes."""
    if bits in (10, 14):
        return np.packbits((row[:, None] >> np.arange(bits - 1, -1, -1)) & 1).tobytes()
    if bits >= 8:
        return row.astype(row.dtype.newbyteorder(order)).tobytes()
    return np.packbits(np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :]).tobytes()
