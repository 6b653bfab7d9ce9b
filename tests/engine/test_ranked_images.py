import numpy as np
import pytest
from PIL import Image

from catseg.engine.ranked_images import RankedImages, draw_images
from catseg.evaluation.confusion import confusion_matrix

NAMES = ["wall", "sky", "sea"]


def look(ranked, name, truth, predicted):
    truth, predicted = np.array(truth), np.array(predicted)
    counts = confusion_matrix(truth, predicted, num_classes=3, ignore_label=255)
    ranked({"file_name": name}, truth, predicted, counts)


def gathered(ranked):
    return {kind: [image.file_name for image in images] for kind, images in ranked.gather().items()}


def test_the_lowest_and_highest_are_kept_in_order():
    ranked = RankedImages(worst=2, best=2)
    look(ranked, "right", [[0, 1]], [[0, 1]])
    look(ranked, "half", [[0, 1]], [[0, 0]])
    look(ranked, "unlabelled", [[255, 255]], [[0, 0]])
    look(ranked, "wrong", [[0, 1]], [[1, 0]])
    look(ranked, "quarter", [[0, 0, 1, 1]], [[1, 2, 1, 1]])
    assert gathered(ranked) == {"worst": ["wrong", "half"], "best": ["right", "quarter"]}
    # Of "half": the wall has 1 of 2 pixels, the sky none.
    assert [image.iou for image in ranked.gather()["worst"]] == pytest.approx([0.0, 25.0])


def test_no_image_is_among_both_the_worst_and_the_best():
    ranked = RankedImages(worst=4, best=4)
    look(ranked, "right", [[0, 1]], [[0, 1]])
    look(ranked, "half", [[0, 1]], [[0, 0]])
    look(ranked, "wrong", [[0, 1]], [[1, 0]])
    assert gathered(ranked) == {"worst": ["wrong"], "best": ["right", "half"]}


def test_the_best_are_left_out_unless_asked_for():
    ranked = RankedImages(worst=1)
    look(ranked, "right", [[0, 1]], [[0, 1]])
    assert gathered(ranked) == {"worst": ["right"], "best": []}


@pytest.mark.parametrize(("size", "shown"), [((400, 200), (256, 128)), ((20, 40), (128, 256))])
def test_images_are_drawn_and_described(tmp_path, size, shown):
    Image.fromarray(np.full((*size, 3), 200, dtype=np.uint8)).save(tmp_path / "a.png")
    truth = np.full(size, 2)
    truth[: size[0] // 2] = 0
    truth[0] = 255
    ranked = RankedImages(worst=1)
    look(ranked, str(tmp_path / "a.png"), truth, np.ones(size))
    [described] = draw_images(tmp_path / "drawn", ranked.gather()["worst"], NAMES, prefix="worst")
    with Image.open(tmp_path / "drawn" / described["file"]) as image:
        assert image.size == (3 * shown[1] + 12, shown[0])
    assert (described["name"], described["iou"]) == ("a.png", 0.0)
    sky, sea, wall = described["classes"]
    assert (sky["name"], sky["iou"], sky["truth"], sky["predicted"]) == ("sky", None, 0.0, 1.0)
    assert (sea["name"], sea["iou"], sea["predicted"]) == ("sea", 0.0, 0.0)
    assert wall["truth"] + sea["truth"] == pytest.approx(1)
