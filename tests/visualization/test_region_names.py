import numpy as np

from catseg.visualization.region_names import _find_places
from catseg.visualization.text import text_width


def boxes(places, names):
    for place in places:
        half = text_width(names[place.label], place.size, bold=True) / 2
        yield place.x - half, place.y - place.size / 2, place.x + half, place.y + place.size / 2


def test_names_lie_inside_their_regions_and_apart():
    names = ["a", "a rather long name", "mid size", "x"]
    labels = np.random.default_rng(0).integers(0, 4, (5, 4)).repeat(160, axis=0).repeat(240, axis=1)
    places = _find_places(labels, names, 18)
    assert {place.label for place in places} == set(np.unique(labels))
    found = list(boxes(places, names))
    for place, (left, top, right, bottom) in zip(places, found, strict=True):
        region = labels[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
        assert (region == place.label).mean() > 0.75
    for i, first in enumerate(found):
        for second in found[:i]:
            apart = first[2] <= second[0] or second[2] <= first[0] or first[3] <= second[1] or second[3] <= first[1]
            assert apart


def test_small_regions_and_pixels_without_class_get_no_name():
    labels = np.full((400, 600), -1)
    labels[:200] = 0
    labels[300:310, 300:310] = 1
    assert [place.label for place in _find_places(labels, ["sky", "dot"], 14)] == [0]


def test_no_name_where_it_does_not_fit():
    labels = np.zeros((400, 20), dtype=int)
    assert _find_places(labels, ["much too long for this"], 14) == []


def test_large_regions_get_large_names():
    labels = np.zeros((400, 600), dtype=int)
    labels[:60, :90] = 1
    sizes = {place.label: place.size for place in _find_places(labels, ["sky", "far away"], 14)}
    assert sizes[0] > sizes[1]


def test_each_large_part_of_a_class_is_named():
    labels = np.zeros((400, 600), dtype=int)
    labels[:, 250:350] = 1
    assert sorted(place.label for place in _find_places(labels, ["sky", "tree"], 14)) == [0, 0, 1]
