import numpy as np
import pytest
from PIL import Image

from catseg.shapes.contact_sheet import SPLITS, write_contact_sheet
from catseg.shapes.scenes import class_numbers
from catseg.visualization import palette

RED, SKY = class_numbers(["red striped patch", "night sky"])


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path):
    """Two images of each test set; a held-out object is on the second one alone, and predicted on neither."""
    data, run = tmp_path / "data", tmp_path / "run"
    for split, (dataset, _) in SPLITS.items():
        for number in range(2):
            name = f"{number:05d}.png"
            truth = np.full((16, 16), SKY, dtype=np.uint8)
            truth[:8] = RED if number else SKY
            write(data / "images" / split / name, np.full((16, 16, 3), 200, dtype=np.uint8))
            write(data / "annotations" / split / name, truth)
            write(run / "evaluation" / dataset / "labels" / name, np.full((16, 16), SKY, dtype=np.uint8))
    return data, run


def area(image, color):
    """Pixels of nearly this colour in the left and in the right half of an image."""
    near = (abs(image.astype(int) - color) < 4).all(axis=2)
    return [half.sum() for half in np.array_split(near, 2, axis=1)]


def test_sheet_shows_truth_and_prediction_of_images_with_held_out_objects(folders, tmp_path):
    write_contact_sheet(tmp_path / "sheet.png", *folders, rows=2)
    with Image.open(tmp_path / "sheet.png") as sheet:
        image = np.asarray(sheet.convert("RGB"))
    red, sky = (area(image, palette(36)[number]) for number in (RED, SKY))
    square = red[1]  # half a map: in the truth of one image
    assert square > 2000
    assert red[0] == pytest.approx(square, rel=0.2)
    assert sky[1] == pytest.approx(3 * square, rel=0.2)  # the unseen test: one image, half and whole
    assert sky[0] == pytest.approx(7 * square, rel=0.2)  # the seen test: two images, whole and whole, half and whole
