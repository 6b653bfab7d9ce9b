import numpy as np
import pytest
from PIL import Image

from catseg.benchmark.worst import WorstImages, draw_worst
from catseg.evaluation.confusion import confusion_matrix

NAMES = ["wall", "sky", "sea"]


def look(worst, name, truth, predicted):
    truth, predicted = np.array(truth), np.array(predicted)
    counts = confusion_matrix(truth, predicted, num_classes=3, ignore_label=255)
    worst({"file_name": name}, truth, predicted, counts)


def test_the_lowest_are_kept_in_order():
    worst = WorstImages(2)
    look(worst, "right", [[0, 1]], [[0, 1]])
    look(worst, "half", [[0, 1]], [[0, 0]])
    look(worst, "unlabelled", [[255, 255]], [[0, 0]])
    look(worst, "wrong", [[0, 1]], [[1, 0]])
    look(worst, "quarter", [[0, 0, 1, 1]], [[1, 2, 1, 1]])
    kept = worst.gather()
    assert [image.file_name for image in kept] == ["wrong", "half"]
    # Of "half": the wall has 1 of 2 pixels, the sky none.
    assert [image.iou for image in kept] == pytest.approx([0.0, 25.0])


@pytest.mark.parametrize(("size", "shown"), [((400, 200), (256, 128)), ((20, 40), (128, 256))])
def test_images_are_drawn_and_described(tmp_path, size, shown):
    Image.fromarray(np.full((*size, 3), 200, dtype=np.uint8)).save(tmp_path / "a.png")
    truth = np.full(size, 2)
    truth[: size[0] // 2] = 0
    truth[0] = 255
    worst = WorstImages(1)
    look(worst, str(tmp_path / "a.png"), truth, np.ones(size))
    [described] = draw_worst(tmp_path / "drawn", worst.gather(), NAMES, 255)
    with Image.open(tmp_path / "drawn" / described["file"]) as image:
        assert image.size == (3 * shown[1] + 12, shown[0])
    assert (described["name"], described["iou"]) == ("a.png", 0.0)
    sky, sea, wall = described["classes"]
    assert (sky["name"], sky["iou"], sky["truth"], sky["predicted"]) == ("sky", None, 0.0, 1.0)
    assert (sea["name"], sea["iou"], sea["predicted"]) == ("sea", 0.0, 0.0)
    assert wall["truth"] + sea["truth"] == pytest.approx(1)
