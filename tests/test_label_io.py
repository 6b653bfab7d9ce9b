import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from catseg.label_io import read_classes, read_label_map
from tests.raw_images import GREY_ALPHA, PALETTE, RGB, RGBA, bmp, png, png_chunk, tiff

LABELS = np.array([[0, 1, 2], [254, 255, 3]])


@pytest.mark.parametrize(("name", "dtype"), [("a.png", np.uint8), ("a.png", np.uint16), ("a.tif", np.uint16)])
def test_values_are_read_as_written(tmp_path, name, dtype):
    labels = LABELS * (200 if dtype == np.uint16 else 1)
    Image.fromarray(labels.astype(dtype)).save(tmp_path / name)
    read = read_label_map(tmp_path / name)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, labels)


def test_palette_images_give_indices(tmp_path):
    image = Image.fromarray(LABELS.astype(np.uint8))
    image.putpalette(np.random.default_rng(0).integers(0, 255, 768).astype(np.uint8).tobytes())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), LABELS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("suffix", "dtype"), [("png", np.uint8), ("tif", np.uint8), ("tif", np.uint16)])
def test_label_maps_are_never_turned(tmp_path, monkeypatch, orientation, suffix, dtype):
    said = []
    monkeypatch.setattr("catseg.label_io.log_first_n", lambda level, message: said.append(message))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(LABELS.astype(dtype)).save(tmp_path / f"a.{suffix}", exif=exif)
    np.testing.assert_array_equal(read_label_map(tmp_path / f"a.{suffix}"), LABELS)
    assert len(said) == (orientation != 1)
    assert all(f"a.{suffix} has an EXIF orientation, which is ignored" in message for message in said)


ODD_TIFFS = {  # that OpenCV decodes
    "int64": lambda labels, **options: tiff(labels.astype(np.int64), bits=64, sample_format=2, **options),
    "uint64": lambda labels, **options: tiff(labels.astype(np.uint64), bits=64, **options),
    "float64": lambda labels, **options: tiff(labels.astype(np.float64), bits=64, sample_format=3, **options),
    "rgb16": lambda labels, **options: tiff(np.stack([labels.astype(np.uint16)] * 3, axis=-1), bits=16, **options),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ODD_TIFFS)
def test_label_maps_that_opencv_decodes_are_not_turned_either(tmp_path, monkeypatch, kind, orientation):
    said = []
    monkeypatch.setattr("catseg.label_io.log_first_n", lambda level, message: said.append(message))
    (tmp_path / "a.tif").write_bytes(ODD_TIFFS[kind](LABELS, orientation=orientation))
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), LABELS)
    assert len(said) == (orientation != 1)


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("order", "<>")
def test_big_tiff_files_are_not_turned_either(tmp_path, orientation, order):
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", LABELS.astype(np.int64), bigtiff=True, byteorder=order, extratags=tags)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), LABELS)


RAMP = np.array([[0, 1, 2, 3]], dtype=np.uint8)
RAMP_16 = RAMP.astype(np.uint16) * 300
RGB_RAMP = np.stack([RAMP] * 3, axis=-1)
EXTRAS = b"".join(
    [
        png_chunk(b"gAMA", (45455).to_bytes(4, "big")),
        png_chunk(b"sRGB", b"\0"),
        png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"no profile")),
        png_chunk(b"zTXt", b"note\0\0" + zlib.compress(b"x" * (3 << 20))),
    ]
)


def opaque(values):
    """The values with a last channel of full opacity."""
    white = np.full_like(values[..., :1], np.iinfo(values.dtype).max)
    return np.concatenate([values, white], axis=-1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(RAMP % 2, bits=1), RAMP % 2),
        (png(RAMP, bits=2), RAMP),
        (png(RAMP * 5, bits=4), RAMP * 5),
        (png(RAMP_16, bits=16), RAMP_16),
        *(
            (png(RAMP & (2**b - 1), bits=b, extra=EXTRAS + png_chunk(b"tRNS", b"\0\1")), RAMP & (2**b - 1))
            for b in (1, 2, 4, 8)
        ),
        *(
            (png(RAMP & (2**b - 1), bits=b, kind=PALETTE, extra=png_chunk(b"PLTE", b"abcabc")), RAMP & (2**b - 1))
            for b in (1, 2)
        ),
        (png(RGB_RAMP, bits=8, kind=RGB), RAMP),
        (png(RGB_RAMP.astype(np.uint16) * 300, bits=16, kind=RGB), RAMP_16),
        (png(opaque(RGB_RAMP), bits=8, kind=RGBA), RAMP),
        (png(opaque(RGB_RAMP.astype(np.uint16) * 300), bits=16, kind=RGBA), RAMP_16),
        (png(opaque(RAMP[..., None]), bits=8, kind=GREY_ALPHA), RAMP),
        (png(opaque(RAMP_16[..., None]), bits=16, kind=GREY_ALPHA), RAMP_16),
        *(
            (tiff(RAMP & (2**b - 1), bits=b, white_is_0=zero), RAMP & (2**b - 1))
            for b in (1, 2, 4, 8)
            for zero in (False, True)
        ),
        *((tiff(RAMP_16, bits=16, white_is_0=zero), RAMP_16) for zero in (False, True)),
        (tiff(RAMP.astype(np.int8) - 1, bits=8, sample_format=2), RAMP - 1.0),
        (tiff(RAMP_16.astype(np.int16) - 1, bits=16, sample_format=2), RAMP_16 - 1.0),
        (tiff(RAMP_16.astype(np.int32) - 1, bits=32, sample_format=2), RAMP_16 - 1.0),
        (tiff(RAMP.astype(np.uint32) + np.uint32(2**32 - 9), bits=32), RAMP + 2.0**32 - 9),
        (tiff(RAMP_16.astype(np.float32), bits=32, sample_format=3), RAMP_16),
        (tiff(RAMP_16.astype(np.float64), bits=64, sample_format=3), RAMP_16),
        (bmp(RAMP % 2, bits=1, greys=[0, 255]), RAMP % 2),
        (bmp(RAMP % 2, bits=1, greys=[255, 0]), RAMP % 2),
        (bmp(RAMP, bits=4, greys=range(0, 160, 10)), RAMP),
        (bmp(RAMP, bits=8, greys=range(4)), RAMP),
        (bmp(RAMP, bits=4, greys=range(4)), RAMP),
        (bmp(RAMP, bits=4, greys=range(16)), RAMP),
        (bmp(RAMP, bits=4, greys=range(15, -1, -1)), RAMP),
        (bmp(RAMP % 2, bits=4, greys=[0, 255]), RAMP % 2),
        (bmp(RAMP % 2, bits=8, greys=[0, 255]), RAMP % 2),
        (tiff(opaque(np.stack([RAMP.astype(np.uint32)] * 3, axis=-1)), bits=32), RAMP),
        (tiff(np.stack([RAMP.astype(np.float32)] * 3, axis=-1), bits=32, sample_format=3), RAMP),
        (b"P5 4 1 3\n" + RAMP.tobytes(), RAMP),
        (b"P5 4 1 1000\n" + RAMP_16.astype(">u2").tobytes(), RAMP_16),
        (b"P5 4 1 65535\n" + RAMP_16.astype(">u2").tobytes(), RAMP_16),
        (b"P2 4 1 3\n0 1 2 3\n", RAMP),
        (b"P4 4 1\n\x50", RAMP % 2),
        (b"P1 4 1\n0 1 0 1\n", RAMP % 2),
        (b"P6 4 1 3\n" + RGB_RAMP.tobytes(), RAMP),
        (b"P6 4 1 1000\n" + (RGB_RAMP.astype(np.uint16) * 300).astype(">u2").tobytes(), RAMP_16),
        (b"Pf\n4 1\n-1.0\n" + RAMP.astype("<f4").tobytes(), RAMP),
    ],
)
def test_numbers_are_read_as_stored_whatever_they_look_like(tmp_path, content, expected):
    path = tmp_path / "a.img"
    path.write_bytes(content)
    read = read_label_map(path)
    assert np.issubdtype(read.dtype, np.integer)
    np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("suffix", ["bmp", "gif", "tga", "tif", "png"])
def test_palettes_of_every_format(tmp_path, suffix):
    image = Image.fromarray(RAMP)
    image.putpalette([200, 0, 0, 0, 0, 200, 0, 0, 0, 90, 90, 90])
    image.save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_label_map(tmp_path / f"a.{suffix}"), RAMP)


def test_a_mask_of_colours_is_no_label_map(tmp_path):
    path = tmp_path / "a.png"
    colors = RGB_RAMP.copy()
    colors[0, 1] = (9, 0, 0)
    for bits, dtype in ((8, np.uint8), (16, np.uint16)):
        path.write_bytes(png(colors.astype(dtype), bits=bits, kind=RGB))
        with pytest.raises(ValueError, match=r"the label file .*a\.png: it is a mask of colours \(RGB\)"):
            read_label_map(path)
    for mode in ("CMYK", "YCbCr", "LAB"):
        Image.new(mode, (4, 4)).save(tmp_path / "a.tif")
        with pytest.raises(ValueError, match="mask of colours"):
            read_label_map(tmp_path / "a.tif")


def test_transparent_parts_are_ambiguous(tmp_path):
    labels = opaque(RGB_RAMP)
    labels[0, 2, 3] = 0
    (tmp_path / "a.png").write_bytes(png(labels, bits=8, kind=RGBA))
    with pytest.raises(ValueError, match=r"a\.png: parts of it are transparent \(RGBA\)"):
        read_label_map(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.jpg", {"quality": 100}), ("a.webp", {}), ("a.avif", {}), ("a.mpo", {}), ("a.tif", {"compression": "jpeg"})],
)
def test_formats_that_change_numbers_are_refused(tmp_path, name, options):
    Image.new("L", (16, 16), 3).save(tmp_path / name, **options)
    with pytest.raises(ValueError, match=r"a format that keeps numbers exactly, .* write the label maps anew as PNG"):
        read_label_map(tmp_path / name)


def test_several_images_in_a_file_are_refused_but_smaller_versions_are_not(tmp_path):
    first, second = Image.fromarray(RAMP), Image.fromarray(RAMP[:, ::2])
    for name in ("a.tif", "a.gif", "a.png"):
        first.save(tmp_path / name, save_all=True, append_images=[Image.fromarray(RAMP[:, ::-1])])
        with pytest.raises(ValueError, match="it holds 2 images, but a label map is one"):
            read_label_map(tmp_path / name)
    second.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), RAMP)


def test_fractions_are_no_classes(tmp_path):
    for values in ([0, 0.5], [0, float("nan")]):
        (tmp_path / "a.tif").write_bytes(tiff(np.array([values], dtype=np.float32), bits=32, sample_format=3))
        with pytest.raises(ValueError, match=r"a\.tif: it must hold whole numbers"):
            read_label_map(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [10, 14])
@pytest.mark.parametrize("white_is_0", [False, True])
def test_bits_that_pillow_does_not_know(tmp_path, bits, white_is_0):
    (tmp_path / "a.tif").write_bytes(tiff(RAMP_16.astype(np.uint16), bits=bits, white_is_0=white_is_0))
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), RAMP_16)


def test_tiff_files_that_can_be_read_as_images_alone_say_so(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RAMP, bigtiff=True, byteorder=">")
    with pytest.raises(ValueError, match=r"a\.tif: is a TIFF file of a kind that can be read as an image alone"):
        read_label_map(tmp_path / "a.tif")


def test_colours_of_5_bits_are_refused(tmp_path):
    header = struct.pack("<IHHIIiiHHIIiiII", 62, 0, 0, 54, 40, 4, 1, 1, 16, 0, 8, 0, 0, 0, 0)
    (tmp_path / "a.bmp").write_bytes(b"BM" + header + (RAMP.astype("<u2") * 0x421).tobytes())
    with pytest.raises(ValueError, match=r"a\.bmp: stores colours of 5 bits, .*: write it as a grey PNG"):
        read_label_map(tmp_path / "a.bmp")


def test_classes_are_checked(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(LABELS.astype(np.uint8)).save(path)
    np.testing.assert_array_equal(read_classes(path, num_classes=255, ignore_label=255), LABELS)
    with pytest.raises(ValueError, match=r"a\.png has values that are no class: 3, 254; there are 3 classes, 0\.\.2"):
        read_classes(path, num_classes=3, ignore_label=255)
    with pytest.raises(ValueError, match=r"no class: 254, 255; .* prepared"):
        read_classes(path, num_classes=150, ignore_label=65535)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        read_label_map(tmp_path / "nowhere.png")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"rgb\.png: it is a mask of colours"):
        read_label_map(tmp_path / "rgb.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "rgb.png").read_bytes()[:2000])
    (tmp_path / "text.png").write_text("no image")
    for name in ("cut.png", "text.png"):
        with pytest.raises(ValueError, match=f"{name} (cannot be decoded|is no image)"):
            read_label_map(tmp_path / name)
