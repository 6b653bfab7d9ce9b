import numpy as np
import pytest
from PIL import Image

from catseg.data.formats import check_data, read_dataset
from catseg.data_report import contact_sheet, write_contact_sheet, write_data_page
from tests.own_formats import bands, mask, photo, text


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    for split in ("train", "val"):
        for k in range(3):
            photo(root / "images" / split / f"{k}.png", seed=10 * len(split) + k)
            mask(root / "labels" / split / f"{k}.png", bands(0, 1, 1, 255))
    text(root / "classes.txt", "sofa\n<b>night</b>\n")
    return root


def test_contact_sheet(tmp_path, data):
    write_contact_sheet(tmp_path / "sheet.jpg", read_dataset(data), count=4)
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.height > 600
    assert contact_sheet(read_dataset(data), count=1).shape[0] == 300


def test_images_that_cannot_be_shown(data, caplog):
    mask(data / "labels" / "train" / "0.png", bands(7, 7))
    assert contact_sheet(read_dataset(data)).dtype == np.uint8
    assert "train/0 is not on the contact sheet" in caplog.text
    for path in (data / "labels").rglob("*.png"):
        mask(path, bands(7, 7))
    with pytest.raises(RuntimeError, match="no image that could be shown"):
        contact_sheet(read_dataset(data))


def test_page(tmp_path, data):
    write_data_page(tmp_path / "check.html", read_dataset(data), check_data(data))
    page = (tmp_path / "check.html").read_text()
    assert "Training can begin." in page
    assert "&lt;b&gt;night&lt;/b&gt;" in page
    assert "<b>night" not in page
    assert "data:image/jpeg;base64," in page
    assert "http" not in page


def test_page_of_what_is_wrong(tmp_path, data):
    for path in (data / "labels").rglob("*.png"):
        mask(path, bands(7, 7))
    write_data_page(tmp_path / "check.html", read_dataset(data), check_data(data))
    page = (tmp_path / "check.html").read_text()
    assert "Training can begin." not in page
    assert "Training would be wrong" in page
    assert "no class: 7 (192 pixels)" in page
