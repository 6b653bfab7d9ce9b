import numpy as np
import pytest
from PIL import Image

from catseg.exif import exif_orientation, turn, turn_back, upright_size

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [PIXELS, PIXELS[..., 0]])
def test_turning_back_is_the_inverse(orientation, pixels):
    np.testing.assert_array_equal(turn_back(turn(pixels, orientation), orientation), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_the_upright_size_is_known_before_decoding(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(tmp_path / f"a.{suffix}", exif=exif)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert upright_size(image) == turn(PIXELS, orientation).shape[:2]


def test_an_image_without_exif_data_is_upright():
    assert exif_orientation(Image.fromarray(PIXELS)) == 1
