import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catseg.image_io import read_image, to_rgb

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


def test_32_bit_grey_beyond_16_bits_is_refused():
    with pytest.raises(ValueError, match=r"expected 16-bit grey values 0..65535, got 0..70000"):
        to_rgb(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))


def test_floating_point_images_are_refused(tmp_path):
    path = saved(tmp_path, Image.new("F", (2, 2)), "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif cannot be decoded.*convert it to 8 or 16 bits"):
        read_image(path)


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
    np.testing.assert_array_equal(to_rgb(COLORS[..., 0]), np.stack([COLORS[..., 0]] * 3, axis=-1))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 2, 3)), r"got \(2, 2, 3\) of float64"),
        (np.zeros((3, 2, 2), np.uint8), r"got \(3, 2, 2\) of uint8"),
        (np.zeros((0, 2, 3), np.uint8), r"got \(0, 2, 3\)"),
        (torch.zeros(2, 2, 3, dtype=torch.uint8), r"expected an RGB tensor \(3, H, W\) of uint8, got \(2, 2, 3\)"),
        (torch.zeros(3, 2, 2), "torch.float32"),
        ([[0]], "got list"),
        (None, "got NoneType"),
        (Image.new("RGB", (0, 3)), "the image is empty: 0 x 3 pixels"),
    ],
)
def test_wrong_images_in_memory(image, message):
    with pytest.raises(ValueError, match=message):
        to_rgb(image)
