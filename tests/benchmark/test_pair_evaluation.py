import numpy as np
import pytest

from catseg.benchmark.pair_evaluation import describe_classes, find_confusions

NAMES = ["wall", "sky", "sea", "never there"]
MATRIX = np.array([[6, 2, 0, 0], [0, 3, 1, 0], [4, 0, 4, 0], [0, 0, 0, 0]])


def test_classes_that_occur_are_described():
    wall, sky, sea = describe_classes(MATRIX, NAMES)
    assert [item["name"] for item in (wall, sky, sea)] == NAMES[:3]
    assert [item["iou"] for item in (wall, sky, sea)] == pytest.approx([50, 50, 400 / 9])
    assert wall["share"] == pytest.approx(0.4)


def test_confusions_come_by_their_pixels():
    found = find_confusions(MATRIX, NAMES, limit=2)
    assert [(item["truth"], item["predicted"]) for item in found] == [("sea", "wall"), ("wall", "sky")]
    assert [item["of_class"] for item in found] == pytest.approx([0.5, 0.25])
    assert [item["of_errors"] for item in found] == pytest.approx([4 / 7, 2 / 7])
    assert len(find_confusions(MATRIX, NAMES, limit=99)) == 3


def test_without_errors_there_are_no_confusions():
    assert find_confusions(np.eye(3, dtype=np.int64), NAMES[:3], limit=5) == []
