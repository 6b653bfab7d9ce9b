import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from catseg.evaluation.confusion import (
    confusion_matrix,
    describe_classes,
    find_confusions,
    mean_iou,
    most_confused,
    scores,
)

NAMES = ["grass", "sky", "cat, kitten", "dog"]

# Worked out by hand: true class by predicted class. "dog" never occurs but is predicted 10 times.
MATRIX = np.array(
    [
        [50, 0, 0, 10],
        [10, 20, 0, 0],
        [0, 5, 5, 0],
        [0, 0, 0, 0],
    ]
)
IOUS = [50 / 70, 20 / 35, 5 / 10]


def test_scores_of_a_hand_made_matrix():
    result = scores(MATRIX, NAMES)
    assert result["mIoU"] == pytest.approx(100 * sum(IOUS) / 3)
    assert result["mIoU_d2_0.6"] == pytest.approx(100 * sum(IOUS) / 4)
    assert result["fwIoU"] == pytest.approx(60 * IOUS[0] + 30 * IOUS[1] + 10 * IOUS[2])
    assert result["mACC"] == pytest.approx(100 * (50 / 60 + 20 / 30 + 5 / 10) / 3)
    assert result["pACC"] == pytest.approx(75)
    assert [result[f"IoU-{name}"] for name in NAMES] == pytest.approx([100 * v for v in [*IOUS, np.nan]], nan_ok=True)
    assert result["ACC-sky"] == pytest.approx(100 * 20 / 30)
    assert np.isnan(result["ACC-dog"])


def test_the_two_definitions_agree_if_only_present_classes_are_predicted():
    matrix = MATRIX.copy()
    matrix[0] = [60, 0, 0, 0]
    result = scores(matrix, NAMES)
    assert result["mIoU"] == result["mIoU_d2_0.6"]


def test_groups():
    result = scores(MATRIX, NAMES, {"grounds": [0, 1], "animals": [2, 3], "dogs": [3]})
    assert result["mIoU-grounds"] == pytest.approx(50 * (IOUS[0] + IOUS[1]))
    assert result["mIoU-animals"] == pytest.approx(100 * IOUS[2])
    assert np.isnan(result["mIoU-dogs"])


def test_scores_refuse_what_has_none():
    with pytest.raises(ValueError, match="no pixel"):
        scores(np.zeros((4, 4), dtype=int), NAMES)
    with pytest.raises(ValueError, match=r"4 classes, got the shape \(3, 3\)"):
        scores(np.eye(3, dtype=int), NAMES)


@st.composite
def maps(draw):
    num_classes = draw(st.integers(1, 6))
    ignore_label = draw(st.sampled_from([-1, 0, 3, 255, 65535]))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=8))
    values = st.integers(0, num_classes - 1)
    truth = draw(hnp.arrays(np.int64, shape, elements=values | st.just(ignore_label)))
    return num_classes, ignore_label, truth, draw(hnp.arrays(np.int64, shape, elements=values))


@given(maps())
def test_matrix_counts_as_a_loop_does(case):
    num_classes, ignore_label, truth, predicted = case
    expected = np.zeros((num_classes, num_classes), dtype=int)
    for row, column in zip(truth.ravel(), predicted.ravel(), strict=True):
        if row != ignore_label:
            expected[row, column] += 1
    matrix = confusion_matrix(truth, predicted, num_classes=num_classes, ignore_label=ignore_label)
    np.testing.assert_array_equal(matrix, expected)


@given(maps())
def test_scores_lie_in_their_range(case):
    num_classes, ignore_label, truth, predicted = case
    matrix = confusion_matrix(truth, predicted, num_classes=num_classes, ignore_label=ignore_label)
    if not matrix.any():
        return
    result = scores(matrix, [str(index) for index in range(num_classes)])
    assert all(np.isnan(value) or 0 <= value <= 100 for value in result.values())
    assert result["mIoU_d2_0.6"] <= result["mIoU"] + 1e-9
    perfect = scores(np.diag(matrix.sum(axis=1)), [str(index) for index in range(num_classes)])
    assert perfect["mIoU"] == perfect["pACC"] == pytest.approx(100)


def test_small_types_do_not_overflow():
    truth, predicted = np.full((2, 2), 199, dtype=np.uint8), np.full((2, 2), 198, dtype=np.uint8)
    assert confusion_matrix(truth, predicted, num_classes=200, ignore_label=255)[199, 198] == 4


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"\(2, 3\).*\(3, 2\)"),
        (np.full((2, 2), 4), np.zeros((2, 2), int), r"ground truth has the values 4\.\.4, classes are 0\.\.3"),
        (np.zeros((2, 2), int), np.full((2, 2), 255), r"prediction has the values 255\.\.255"),
        (np.zeros((2, 2), int), np.full((2, 2), -1), r"prediction has the values -1\.\.-1"),
    ],
)
def test_bad_maps_are_refused(truth, predicted, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(truth, predicted, num_classes=4, ignore_label=255)


CLASS_NAMES = ["wall", "sky", "sea", "never there"]
PIXELS = np.array([[6, 2, 0, 0], [0, 3, 1, 0], [4, 0, 4, 0], [0, 0, 0, 0]])


def test_classes_that_occur_are_described():
    wall, sky, sea = describe_classes(PIXELS, CLASS_NAMES)
    assert [item["name"] for item in (wall, sky, sea)] == CLASS_NAMES[:3]
    assert [item["iou"] for item in (wall, sky, sea)] == pytest.approx([50, 50, 400 / 9])
    assert [item["accuracy"] for item in (wall, sky, sea)] == pytest.approx([75, 75, 50])
    assert [item["pixels"] for item in (wall, sky, sea)] == [8, 4, 8]
    assert wall["share"] == pytest.approx(0.4)


def test_confusions_come_by_their_pixels():
    found = find_confusions(PIXELS, CLASS_NAMES, limit=2)
    assert [(item["truth"], item["predicted"]) for item in found] == [("sea", "wall"), ("wall", "sky")]
    assert [item["of_class"] for item in found] == pytest.approx([0.5, 0.25])
    assert [item["of_errors"] for item in found] == pytest.approx([4 / 7, 2 / 7])
    assert len(find_confusions(PIXELS, CLASS_NAMES, limit=99)) == 3


def test_without_errors_there_are_no_confusions():
    assert find_confusions(np.eye(3, dtype=np.int64), CLASS_NAMES[:3], limit=5) == []


def test_the_mean_iou_is_that_of_the_scores():
    assert mean_iou(PIXELS) == scores(PIXELS, CLASS_NAMES)["mIoU"]


def test_the_most_confused_classes_come_by_their_wrong_pixels():
    assert most_confused(PIXELS, limit=9) == [0, 2, 1]
    assert most_confused(PIXELS, limit=1) == [0]
    assert most_confused(np.eye(3, dtype=np.int64), limit=3) == []
