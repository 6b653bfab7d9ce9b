import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catseg.visualization import class_shares, overlay, palette
from catseg.visualization.legend import LegendEntry, format_share
from catseg.visualization.overlay import _legend_entries, short_names
from catseg.vocabulary import Vocabulary

NAMES = ["sky", "sofa, couch", "cat"]


def halves(height=600, width=800):
    """Class 0 at the left, class 2 at the right."""
    labels = np.zeros((height, width), dtype=np.int64)
    labels[:, width // 2 :] = 2
    return np.full((height, width, 3), 90, dtype=np.uint8), labels


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    names=st.lists(st.text(max_size=40), min_size=1, max_size=30),
    seed=st.integers(0, 2**32 - 1),
    legend=st.booleans(),
)
def test_any_image_any_labels_any_names(height, width, names, seed, legend):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    labels = random.integers(-2, len(names) + 2, (height, width))
    drawing = overlay(image, labels, names, legend=legend)
    assert drawing.dtype == np.uint8
    factor = -(-512 // max(height, width))
    assert drawing.shape[0] >= height * factor
    assert drawing.shape[1] >= width * factor
    if not legend:
        assert drawing.shape == (height * factor, width * factor, 3)


def test_regions_have_the_colours_of_their_classes():
    image, labels = halves()
    drawing = overlay(image, labels, NAMES, alpha=0.5, legend=False)
    for x, label in ((100, 0), (700, 2)):
        expected = (palette(3)[label].astype(float) + 90) / 2
        np.testing.assert_allclose(drawing[550, x], expected, atol=1)


def test_alpha_0_shows_the_photograph_and_alpha_1_the_classes():
    image, labels = halves()
    assert (overlay(image, labels, NAMES, alpha=0, legend=False)[550, 100] == 90).all()
    assert (overlay(image, labels, NAMES, alpha=1, legend=False)[550, 100] == palette(1)[0]).all()


def test_colours_can_be_given():
    image, labels = halves()
    colors = [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
    drawing = overlay(image, labels, NAMES, colors, alpha=1, legend=False)
    assert drawing[550, 100].tolist() == [1, 2, 3]


def test_a_white_line_lies_between_regions_and_nowhere_else():
    image, labels = halves()
    drawing = overlay(image, labels, ["\n"] * 3, legend=False)  # names that cannot be drawn show as #0
    white = (drawing[500] == 255).all(axis=1)
    assert white[398:402].any()
    assert not white[:390].any()
    assert not white[410:].any()


def test_speckle_is_not_painted_over_by_borders():
    image, _ = halves()
    labels = np.random.default_rng(0).integers(0, 3, image.shape[:2])
    drawing = overlay(image, labels, NAMES, legend=False)
    assert (drawing == 255).all(axis=2).mean() < 0.01


def test_names_are_written_inside_their_regions():
    image, labels = halves()
    drawing = overlay(image, labels, NAMES, legend=False)
    dark = (drawing < 40).all(axis=2)  # the outline of letters
    assert dark[:, :380].any()
    assert dark[:, 420:].any()
    assert not dark[:, 385:415].any()


def test_pixels_without_class_are_grey():
    image, labels = halves()
    image[..., 0] = 200
    labels[:] = 255
    drawing = overlay(image, labels, NAMES, alpha=1, legend=False)
    assert (drawing == 128).all()


def test_the_legend_lists_present_classes_only_most_first():
    shares = class_shares(np.array([[2, 2, 2, 0], [2, 2, 255, -1]]), 3)
    entries = _legend_entries(["a", "b", "c"], np.arange(12, dtype=np.uint8).reshape(4, 3), shares)
    assert entries == [
        LegendEntry("c", (6, 7, 8), 5 / 8),
        LegendEntry("a", (0, 1, 2), 1 / 8),
        LegendEntry("no class", (128, 128, 128), 2 / 8),
    ]


def test_the_legend_is_beside_or_below():
    image, labels = halves(600, 800)
    beside = overlay(image, labels, NAMES)
    assert beside.shape[0] == 600
    assert beside.shape[1] > 900
    image, labels = halves(300, 900)
    below = overlay(image, labels, NAMES)
    assert below.shape[0] > 320
    assert below.shape[1] == 900


def test_847_classes_fit():
    labels = np.arange(847).repeat(400).reshape(-1, 440)
    image = np.zeros((*labels.shape, 3), dtype=np.uint8)
    drawing = overlay(image, labels, [f"class {i}" for i in range(847)])
    assert drawing.shape[0] == labels.shape[0]
    assert drawing.shape[1] < 3 * labels.shape[1]


def test_short_names():
    vocabulary = Vocabulary([("sofa", "couch"), ("screen door", "screen"), ("screen", "silver screen")])
    assert short_names(vocabulary) == ["sofa", "screen door", "screen"]
    assert short_names(Vocabulary([("bank", "shore"), ("bank", "office")])) == ["bank, shore", "bank, office"]
    assert short_names(["sofa, couch", "\n"]) == ["sofa, couch", "#1"]


def test_format_share():
    assert [format_share(share) for share in (0, 0.00049, 0.0006, 0.5, 1)] == [
        "0.0 %",
        "< 0.1 %",
        "0.1 %",
        "50.0 %",
        "100.0 %",
    ]


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (np.zeros((4, 4)), np.zeros((4, 4), int), r"got \(4, 4\) of float64"),
        (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4), int), r"got \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), np.zeros((0, 4), int), r"got \(0, 4, 3\)"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), int), r"the map is \(5, 4\), the image \(4, 5\)"),
    ],
)
def test_wrong_shapes(image, labels, message):
    with pytest.raises(ValueError, match=message):
        overlay(image, labels, NAMES)


def test_wrong_alpha_and_colours():
    image, labels = halves(8, 8)
    with pytest.raises(ValueError, match="got 2"):
        overlay(image, labels, NAMES, alpha=2)
    with pytest.raises(ValueError, match=r"expected 3 RGB colours 0..255 .*, got \(2, 3\)"):
        overlay(image, labels, NAMES, np.zeros((2, 3)))
