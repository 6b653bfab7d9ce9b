import base64
import os

import numpy as np
import pytest
from PIL import Image

from catseg.app.limits import Limits
from catseg.app.photos import read_photo, take_data_url, take_upload
from catseg.errors import InputError
from tests.app.conftest import picture


@pytest.fixture
def upload(tmp_path):
    path = tmp_path / "digest" / "holiday.png"
    path.parent.mkdir()
    path.write_bytes(picture())
    return path


def test_an_upload_is_read_and_deleted(upload, tmp_path):
    photo = take_upload(upload, "holiday.png", Limits())
    assert photo.image.shape == (40, 60, 3)
    assert photo.name == "holiday.png"
    assert photo.describe() == "60 x 40 pixels"
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_cannot_be_used_is_deleted_too(upload, tmp_path):
    upload.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"^the file is no image"):
        take_upload(upload, "a.png", Limits())
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_is_gone(upload):
    upload.unlink()
    with pytest.raises(InputError, match="give the image again"):
        take_upload(upload, "a.png", Limits())


def test_the_same_image_of_somebody_else_stays(upload, monkeypatch):
    real = os.fstat

    def uploaded_again(number):
        state = real(number)
        os.utime(upload, ns=(state.st_atime_ns, state.st_mtime_ns + 5))
        return state

    monkeypatch.setattr("catseg.app.photos.os.fstat", uploaded_again)
    take_upload(upload, "a.png", Limits())
    assert upload.exists()


def test_a_path_as_name_is_the_name_alone():
    assert read_photo(picture(), "../../etc/photo.png", Limits()).name == "photo.png"


def test_too_many_bytes(upload, tmp_path):
    with pytest.raises(InputError, match=r"the image's file has 0\.0 MB, this server takes 0\.001"):
        take_upload(upload, "a.png", Limits(megabytes=0.001))
    assert list(tmp_path.iterdir()) == []


def test_too_many_pixels_are_not_decoded(monkeypatch):
    monkeypatch.setattr("catseg.app.photos.read_image", lambda content: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match=r"60 x 40 = 0\.0 million pixels, this server takes 0\.001 million"):
        read_photo(picture(), "a.png", Limits(megapixels=0.001))


def test_pictures_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by 90 degrees
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert read_photo((tmp_path / "a.jpg").read_bytes(), "a.jpg", Limits()).image.shape == (60, 40, 3)


def test_data_urls():
    url = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    assert take_data_url(url, "a.png", Limits()).image.shape == (40, 60, 3)
    for wrong, reason in (("data:image/png,abc", "data URL begins"), (url[:-3] + "!!!", "base64"), ("", "begins")):
        with pytest.raises(InputError, match=reason):
            take_data_url(wrong, "a.png", Limits())
    with pytest.raises(InputError, match="this server takes"):
        take_data_url(url, "a.png", Limits(megabytes=0.001))
