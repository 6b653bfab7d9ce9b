import pytest

from catseg.pages.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, curves


@pytest.mark.parametrize(
    ("values", "from_zero", "expected"),
    [
        ([0.21, 2.6], True, ["0", "1", "2", "3"]),
        ([71.3, 87.58], False, ["70", "75", "80", "85", "90"]),
        ([4.1e-8, 0.0015], True, ["0", "0.0005", "0.001", "0.0015"]),
        ([5.0, 5.0], False, ["5", "6"]),
        ([0.0, 0.0], True, ["0", "0.2"]),
        ([-3.0, 3.0], False, ["-4", "-2", "0", "2", "4"]),
    ],
)
def test_axes_have_round_numbers_that_hold_all_values(values, from_zero, expected):
    chart = curves("a", {"x": list(enumerate(values))}, last=1, from_zero=from_zero)
    assert [tick.text for tick in chart.y_ticks] == expected


def test_points_stay_between_the_margins():
    chart = curves("a", {"x": [(0, 0.0), (50, 3.0), (100, 1.0)], "y": [(100, 2.0)]}, last=100)
    points = [point for line in chart.lines for point in line.points]
    assert points[0] == (LEFT, HEIGHT - BOTTOM)
    assert points[1] == ((LEFT + WIDTH - RIGHT) / 2, TOP)
    assert points[3][0] == WIDTH - RIGHT
    assert len({line.color for line in chart.lines}) == 2
    assert [(line.name, line.last) for line in chart.lines] == [("x", "1"), ("y", "2")]


def test_few_points_are_marked_and_many_are_averaged():
    few = curves("a", {"x": [(i, i) for i in range(3)]}, last=2)
    assert few.lines[0].dots[2][2] == "x: 2 at 2"
    many = curves("a", {"x": [(i, i % 2) for i in range(4000)]}, last=4000)
    assert len(many.lines[0].points) == 400
    assert not many.lines[0].dots
    assert {round(y) for _, y in many.lines[0].points} == {round(many.lines[0].points[0][1])}


def test_without_points_there_is_no_chart():
    assert curves("a", {}, last=1) is None
    assert curves("a", {"x": []}, last=1) is None
    [line] = curves("a", {"x": [], "y": [(3, 4.0)]}, last=3).lines
    assert line.points == [(WIDTH - RIGHT, HEIGHT - BOTTOM)]
