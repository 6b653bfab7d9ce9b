import io
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from catseg.image_io import read_image, to_rgb
from tests.raw_images import RGB, bmp, png, png_chunk, tiff

COLORS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 0], [0, 255, 255], [9, 8, 7]]], dtype=np.uint8)


def saved(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def assert_rgb(array, shape):
    assert array.dtype == np.uint8
    assert array.shape == shape
    assert array.flags.c_contiguous


def test_rgb_is_read_as_it_is(tmp_path):
    read = read_image(saved(tmp_path, Image.fromarray(COLORS), "a.png"))
    assert_rgb(read, (2, 3, 3))
    np.testing.assert_array_equal(read, COLORS)


@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, -1), (8, 1)])
def test_exif_orientation(tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(COLORS), "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(path), np.rot90(COLORS, turn))
    np.testing.assert_array_equal(read_image(path, upright=False), COLORS)


@pytest.mark.parametrize("white_is_0", [False, True])
@pytest.mark.parametrize(("bits", "dtype"), [(10, np.uint16), (14, np.uint16), (64, np.uint64)])
def test_grey_that_opencv_decodes(tmp_path, bits, dtype, white_is_0):
    content = tiff(np.array([[0, 2**bits - 1]], dtype=dtype), bits=bits, white_is_0=white_is_0)
    (tmp_path / "a.tif").write_bytes(content)
    assert greys(read_image(tmp_path / "a.tif")) == ([255, 0] if white_is_0 else [0, 255])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("samples", "options"),
    [
        (COLORS / np.float32(255), {"bits": 32, "sample_format": 3}),
        (COLORS.astype(np.uint32) * np.uint32(2**24), {"bits": 32}),
        (COLORS.astype(np.uint16) * 256, {"bits": 16}),
        (COLORS, {"bits": 8}),
        (COLORS[..., 0].astype(np.uint16) * 256, {"bits": 16}),
        (COLORS[..., 0].astype(np.uint64) * np.uint64(2**56), {"bits": 64}),
    ],
)
def test_every_orientation_of_tiff_files(tmp_path, samples, options, orientation):
    (tmp_path / "a.tif").write_bytes(tiff(samples, orientation=orientation, **options))
    stored = COLORS if samples.ndim == 3 else np.stack([COLORS[..., 0]] * 3, axis=-1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    np.testing.assert_allclose(read_image(tmp_path / "a.tif").astype(int), upright, atol=1)
    np.testing.assert_allclose(read_image(tmp_path / "a.tif", upright=False).astype(int), stored, atol=1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_every_mode(mode):
    # Black and white, because the small gamut of some modes shifts colours.
    image = Image.fromarray(np.array([[0, 255, 255]], dtype=np.uint8)).convert("RGB").convert(mode)
    read = to_rgb(image)
    assert_rgb(read, (1, 3, 3))
    np.testing.assert_allclose(read[0, :, 0], [0, 255, 255], atol=1)


def test_transparent_parts_are_white():
    image = Image.fromarray(np.array([[[255, 0, 0, 255], [9, 9, 9, 0], [0, 0, 0, 128]]], dtype=np.uint8))
    np.testing.assert_allclose(to_rgb(image)[0], [[255, 0, 0], [255, 255, 255], [127, 127, 127]], atol=1)


def test_transparent_palette(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    read = read_image(saved(tmp_path, image, "a.png", transparency=1))
    assert read.tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled(tmp_path, suffix):
    image = Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16))
    read = read_image(saved(tmp_path, image, f"a.{suffix}"))
    assert read[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


RAMP = np.array([[0, 1, 2, 3]])


def greys(read):
    """The values of the first row, which must be grey."""
    assert (read == read[..., :1]).all()
    return read[0, :, 0].tolist()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(RAMP % 2, bits=1), [0, 255, 0, 255]),
        (png(RAMP, bits=2), [0, 85, 170, 255]),
        (png(RAMP * 5, bits=4), [0, 85, 170, 255]),
        (tiff(RAMP, bits=2, white_is_0=True), [255, 170, 85, 0]),
        (tiff(RAMP.astype(np.uint8), bits=8, white_is_0=True), [255, 254, 253, 252]),
        (tiff((RAMP * 21845).astype(np.uint16), bits=16, white_is_0=True), [255, 170, 85, 0]),
        (tiff((RAMP * 10000).astype(np.int16), bits=16, sample_format=2), [0, 78, 156, 233]),
        (tiff((RAMP * 1431655765).astype(np.uint32), bits=32), [0, 85, 170, 255]),
        (tiff((RAMP * 715827882).astype(np.int32), bits=32, sample_format=2), [0, 85, 170, 255]),
        (tiff((RAMP * 21845).astype(np.int32), bits=32, sample_format=2), [0, 85, 170, 255]),
        (tiff((RAMP / 3).astype(np.float32), bits=32, sample_format=3), [0, 85, 170, 255]),
        (tiff(RAMP / 3, bits=64, sample_format=3), [0, 85, 170, 255]),
        (bmp(RAMP, bits=4, greys=range(0, 160, 10)), [0, 10, 20, 30]),
        (bmp(RAMP, bits=4, greys=range(16)), [0, 1, 2, 3]),
        (bmp(RAMP.astype(np.uint8) % 2, bits=8, greys=[0, 255]), [0, 255, 0, 255]),
        (b"P5 4 1 3\n" + bytes(range(4)), [0, 85, 170, 255]),
        (b"P5 4 1 3000\n" + (RAMP * 1000).astype(">u2").tobytes(), [0, 85, 170, 255]),
        (b"P4 4 1\n\x50", [255, 0, 255, 0]),
    ],
)
def test_grey_of_every_depth_is_shown_by_its_range(tmp_path, content, expected):
    path = tmp_path / "a.img"
    path.write_bytes(content)
    assert greys(read_image(path)) == expected


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(
    ("dtype", "sample_format", "white"), [(np.uint8, 1, 255), (np.uint16, 1, 65535), (np.float32, 3, 1)]
)
def test_colours_of_every_depth_in_tiff(tmp_path, dtype, sample_format, white, planar):
    samples = (COLORS[:1].astype(np.float64) * (white / 255)).astype(dtype)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(samples, bits=samples.itemsize * 8, sample_format=sample_format, planar=planar))
    if planar and dtype != np.uint8:
        with pytest.raises(ValueError, match=r"a\.tif.* one channel after another with more than 8 bits: convert it"):
            read_image(path)
        return
    np.testing.assert_array_equal(read_image(path), COLORS[:1])


def test_what_is_transparent_is_a_number_of_the_file(tmp_path):
    path = tmp_path / "a.png"
    for bits, kept in ((2, [0, 255, 170, 255]), (4, [0, 255, 34, 51]), (8, [0, 255, 2, 3]), (16, [0, 255, 0, 0])):
        samples = RAMP.astype(np.uint16 if bits == 16 else np.uint8)
        path.write_bytes(png(samples, bits=bits, extra=png_chunk(b"tRNS", b"\0\1")))
        assert greys(read_image(path)) == kept
    colors = np.array([[[2304, 0, 0], [0, 0, 0]]], dtype=np.uint16)
    path.write_bytes(png(colors, bits=16, kind=RGB, extra=png_chunk(b"tRNS", colors[0, 0].astype(">u2").tobytes())))
    assert read_image(path).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_opacity(mode):
    image = Image.new("LA", (1, 1), (255, 128)) if mode == "La" else Image.new("RGBA", (1, 1), (255, 0, 0, 128))
    red, green, blue = to_rgb(image.convert(mode))[0, 0].tolist()
    assert red == 255
    assert (green, blue) == ((255, 255) if mode == "La" else pytest.approx((127, 127), abs=1))


@pytest.mark.parametrize("values", [[0, 255], [-0.1, 1], [0, float("nan")]])
def test_floating_point_numbers_outside_0_to_1_have_no_known_white(tmp_path, values):
    path = saved(tmp_path, Image.fromarray(np.array([values], dtype=np.float32)), "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: expected float32 values 0\.\.1, got .*convert it to 8 or 16 bits"):
        read_image(path)


def test_negative_numbers_are_no_shades(tmp_path):
    path = tmp_path / "a.tif"
    for dtype in (np.int8, np.int16, np.int32):
        samples = np.array([[-1, 5]], dtype=dtype)
        path.write_bytes(tiff(samples, bits=samples.itemsize * 8, sample_format=2))
        with pytest.raises(ValueError, match=r"a\.tif: expected .* got -1\.\.5"):
            read_image(path)


def test_32_bit_grey_in_memory_beyond_16_bits_is_refused():
    with pytest.raises(ValueError, match=r"expected 16-bit grey values 0\.\.65535, got 0\.\.70000"):
        to_rgb(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))


@pytest.mark.parametrize(
    "extra",
    [
        png_chunk(b"zTXt", b"note\0\0" + zlib.compress(b"x" * (3 << 20))),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * (3 << 20))),
        png_chunk(b"zTXt", b"note\0\7damaged"),
        png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"x" * (3 << 20))),
        png_chunk(b"iCCP", b"profile\0\0no zlib"),
        png_chunk(b"gAMA", b"\0"),
        png_chunk(b"eXIf", b"no EXIF data"),
        png_chunk(b"tEXt", b"note\0text")[:-1] + b"?",  # a wrong checksum
    ],
)
def test_what_stands_beside_the_pixels_does_not_matter(tmp_path, extra):
    path = tmp_path / "a.png"
    path.write_bytes(png(COLORS, bits=8, kind=RGB, extra=extra))
    np.testing.assert_array_equal(read_image(path), COLORS)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png", "tif"])
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\xff\xff", b"Exif\0\0" + bytes(20), b"text"])
def test_damaged_exif_data_leave_the_image_as_it_is(tmp_path, suffix, exif):
    image = Image.new("RGB", (8, 4), "red")
    expected = read_image(saved(tmp_path, image, f"plain.{suffix}"))
    try:
        path = saved(tmp_path, image, f"odd.{suffix}", exif=exif)
    except Exception:  # Pillow parses the data of some formats before it writes them
        pytest.skip("Pillow does not write it")
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize("orientation", [0, 1, 9, 100])
def test_numbers_that_are_no_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(COLORS), "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(path), COLORS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("pixels", [COLORS, COLORS[..., 0], COLORS[..., 0].astype(np.uint16) * 257])
def test_every_orientation_is_that_of_pillow(tmp_path, orientation, suffix, pixels):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(pixels), f"a.{suffix}", exif=exif)
    stored = to_rgb(pixels)
    reference = saved(tmp_path, Image.fromarray(stored), "reference.png", exif=exif)
    with Image.open(reference) as image:
        np.testing.assert_array_equal(read_image(path), np.asarray(ImageOps.exif_transpose(image)))
    np.testing.assert_array_equal(read_image(path, upright=False), stored)


def test_a_broken_link_says_so(tmp_path):
    (tmp_path / "a.png").symlink_to("gone.png")
    with pytest.raises(FileNotFoundError, match=r"a\.png: it is a link to gone\.png, which does not exist"):
        read_image(tmp_path / "a.png")


def test_files_that_need_more_say_so(tmp_path):
    for name, hint in (("a.HEIC", "pillow-heif"), ("a.dng", "raw camera file"), ("a.mp4", "a video")):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftyp")
        with pytest.raises(ValueError, match=f"no image of a kind that can be read .*{hint}"):
            read_image(tmp_path / name)


def test_cmyk_jpeg(tmp_path):
    read = read_image(saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "a.jpg", quality=95))
    np.testing.assert_allclose(read[4, 4], [255, 0, 0], atol=4)


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    read = read_image(saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:]))
    assert read[0, 0].tolist() == [255, 0, 0]


def test_one_pixel_and_extreme_aspects(tmp_path):
    for size in ((1, 1), (5000, 1), (1, 5000)):
        read = read_image(saved(tmp_path, Image.new("RGB", size), "a.png"))
        assert_rgb(read, (size[1], size[0], 3))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no image file .*missing\.png"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(ValueError, match="expected an image file, got the folder"):
        read_image(tmp_path)


def test_files_that_are_no_images(tmp_path):
    for content in (b"", b"text", b"\x89PNG\r\n\x1a\n"):
        path = tmp_path / "a.png"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.png (is no image|cannot be decoded)"):
            read_image(path)


def test_truncated_file(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), "a.jpg")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"a\.jpg cannot be decoded, it may be damaged: .*truncated"):
        read_image(path)


def test_decompression_bomb(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.new("RGB", (20, 20)), "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    assert read_image(path).shape == (20, 20, 3)  # Pillow only warns below twice the limit
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"a\.png is too large to be decoded safely.*400 pixels"):
        read_image(path)
    path.write_bytes(tiff(np.zeros((20, 20), np.uint64), bits=64))  # which OpenCV decodes
    with pytest.raises(ValueError, match=r"a\.png is too large to be decoded safely.*400 pixels"):
        read_image(path)


@settings(max_examples=100)
@given(
    suffix=st.sampled_from(["png", "jpg", "gif", "bmp", "tif", "webp", "ppm"]),
    changes=st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), min_size=1, max_size=20),
    keep=st.floats(0.1, 1),
)
def test_damaged_files_are_read_or_refused(tmp_path_factory, suffix, changes, keep):
    buffer = io.BytesIO()
    Image.fromarray(COLORS).resize((16, 12)).save(buffer, Image.registered_extensions()[f".{suffix}"])
    content = bytearray(buffer.getvalue())
    for position, value in changes:
        content[position % len(content)] = value
    path = tmp_path_factory.mktemp("damaged") / f"a.{suffix}"
    path.write_bytes(content[: int(keep * len(content))])
    try:
        read = read_image(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017 (either outcome is right)
    else:
        assert read.dtype == np.uint8
        assert read.ndim == 3


def test_arrays_and_tensors():
    np.testing.assert_array_equal(to_rgb(COLORS), COLORS)
    np.testing.assert_array_equal(to_rgb(torch.from_numpy(COLORS).permute(2, 0, 1)), COLORS)
    np.testing.assert_array_equal(to_rgb(COLORS[:, ::-1]), COLORS[:, ::-1])
    assert_rgb(to_rgb(COLORS[:, ::-1]), (2, 3, 3))
    grey = np.stack([COLORS[..., 0]] * 3, axis=-1)
    np.testing.assert_array_equal(to_rgb(COLORS[..., 0]), grey)
    np.testing.assert_array_equal(to_rgb(COLORS[..., :1]), grey)
    np.testing.assert_array_equal(to_rgb(torch.from_numpy(COLORS[None, ..., 0])), grey)


def test_arrays_of_every_type_whose_white_is_known():
    np.testing.assert_array_equal(to_rgb(COLORS.astype(np.uint16) * 257), COLORS)
    for dtype in (np.float16, np.float32, np.float64):
        np.testing.assert_array_equal(to_rgb((COLORS / 255).astype(dtype)), COLORS)
    np.testing.assert_array_equal(to_rgb(torch.from_numpy(COLORS).permute(2, 0, 1) / 255), COLORS)
    assert to_rgb(np.array([[False, True]])).tolist() == [[[0] * 3, [255] * 3]]
    rgba = np.array([[[255, 0, 0, 255], [9, 9, 9, 0]]], dtype=np.uint8)
    assert to_rgb(rgba).tolist() == [[[255, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((2, 2, 3), 255.0), r"expected float64 values 0\.\.1, got 255.0\.\.255.0"),
        (np.zeros((2, 2, 3), np.int64), r"got int64: if its values are 0\.\.255, image\.astype"),
        (np.zeros((3, 2, 2), np.uint8), r"got \(3, 2, 2\) of uint8"),
        (np.zeros((0, 2, 3), np.uint8), r"got \(0, 2, 3\)"),
        (torch.zeros(2, 2, 3, dtype=torch.uint8), r"expected an RGB tensor \(3, H, W\), .* got \(2, 2, 3\)"),
        (torch.zeros(1, 3, 2, 2), r"got \(1, 3, 2, 2\) of torch\.float32; the images of a batch are given one by one"),
        ([[0]], "got list"),
        (None, "got NoneType"),
        (Image.new("RGB", (0, 3)), "the image is empty: 0 x 3 pixels"),
    ],
)
def test_wrong_images_in_memory(image, message):
    with pytest.raises(ValueError, match=message):
        to_rgb(image)
