import json

import numpy as np
import pytest

from catseg.data.formats import read_dataset
from tests.own_formats import HEIGHT, WIDTH, as_base64, bands, labelme, photo, text

LEFT = [[0, 0], [7, 0], [7, 11], [0, 11]]


def small(root, shapes, **options):
    photo(root / "a.jpg")
    labelme(root / "a.json", "a.jpg", shapes, **options)
    return read_dataset(root)


def test_polygons_in_their_order(tmp_path):
    data = small(tmp_path, [("sofa", "polygon", [[0, 0], [3, 0], [3, 11], [0, 11]]), ("grass", "polygon", LEFT)])
    assert (data.format, data.vocabulary, data.problems) == ("labelme", ["grass", "sofa"], ())
    assert np.array_equal(data.samples[0][1].label_map(), bands(0, 255)), "the later shape is on top"


@pytest.mark.parametrize(
    ("kind", "points", "count"),
    [
        ("rectangle", [[7, 11], [0, 0]], 96),
        ("circle", [[8, 6], [8, 8]], 21),
        ("line", [[0, 6], [15, 6]], 160),
        ("linestrip", [[0, 6], [8, 6], [15, 6]], 160),
        ("point", [[8, 6]], 97),
    ],
)
def test_other_shapes(tmp_path, kind, points, count):
    labels = small(tmp_path, [("sofa", kind, points)]).samples[0][1].label_map()
    assert abs(int((labels == 0).sum()) - count) <= 8


def test_masks_are_pasted_even_over_the_border(tmp_path):
    part = as_base64(np.full((5, 6), 255, dtype=np.uint8))
    shapes = [("sofa", "mask", [[13, 9], [18, 13]], part), ("sofa", "mask", [[-2, 0], [3, 4]], part)]
    labels = small(tmp_path, shapes).samples[0][1].label_map()
    expected = np.full((HEIGHT, WIDTH), 255)
    expected[9:, 13:] = 0
    expected[:5, :4] = 0
    assert np.array_equal(labels, expected)


def test_an_unknown_shape(tmp_path):
    [(_, sample)] = small(tmp_path, [("sofa", "spline", LEFT)]).samples
    with pytest.raises(ValueError, match=r"'sofa' of .*a\.json is of the unknown kind 'spline'"):
        sample.label_map()


def test_paths_of_windows_a_mark_and_umlauts(tmp_path):
    photo(tmp_path / "Bilder" / "Küche 1.JPG")
    labelme(tmp_path / "json" / "k.json", r"..\Bilder\Küche 1.JPG", [("Tür", "polygon", LEFT)], encoding="utf-8-sig")
    labelme(tmp_path / "json" / "l.json", r"C:\elsewhere\l.jpg", [])
    photo(tmp_path / "json" / "l.jpg", seed=1)
    data = read_dataset(tmp_path)
    assert (data.vocabulary, [sample.name for _, sample in data.samples]) == (["Tür"], ["json/k", "json/l"])
    assert (data.samples[1][1].label_map() == 255).all()


def test_embedded_images(tmp_path):
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    labelme(tmp_path / "a.json", "gone.jpg", [("sofa", "polygon", LEFT)], image_data=as_base64(pixels))
    data = read_dataset(tmp_path)
    assert "1 images are taken from the JSON files" in data.notes
    assert np.array_equal(data.samples[0][1].label_map(), bands(0, 255))


def test_missing_images_are_problems_and_images_without_file_are_named(tmp_path):
    labelme(tmp_path / "a.json", "gone.jpg", [("sofa", "polygon", LEFT)])
    photo(tmp_path / "b.jpg")
    data = read_dataset(tmp_path)
    assert "1 file's image is missing" in data.problems[0]
    assert data.warnings == ("1 image has no JSON file and is left out: b.jpg",)


def test_a_list_of_labels(tmp_path):
    text(tmp_path / "labels.txt", "__ignore__\n_background_\nsofa\ngrass\n")
    data = small(tmp_path, [("sofa", "polygon", LEFT), ("__ignore__", "rectangle", [[0, 0], [3, 11]])])
    assert data.vocabulary == ["_background_", "sofa", "grass"]
    assert np.array_equal(data.samples[0][1].label_map(), bands(255, 1, 0, 0))
    (tmp_path / "labels.txt").write_text("grass\n")
    assert "labels are not in" in read_dataset(tmp_path).problems[0]


def test_shapes_are_on_the_upright_image(tmp_path):
    small(tmp_path, [("sofa", "rectangle", [[0, 0], [11, 3]])], size=(WIDTH, HEIGHT))
    photo(tmp_path / "a.jpg", orientation=6)
    labels = read_dataset(tmp_path).samples[0][1].label_map()
    assert (labels[:4] == 0).all()
    assert (labels[4:] == 255).all()


def test_one_file(tmp_path):
    small(tmp_path, [("sofa", "polygon", LEFT)])
    text(tmp_path / "other.json", json.dumps({"a": 1}))
    assert len(read_dataset(tmp_path / "a.json").samples) == 1
    assert len(read_dataset(tmp_path).samples) == 1


def test_a_damaged_file_does_not_lose_the_rest(tmp_path):
    small(tmp_path, [("sofa", "polygon", LEFT)])
    text(tmp_path / "b.json", '{"shapes": [')
    text(tmp_path / "c.json", '{"shapes": [{"points": []}], "imagePath": "c.jpg"}')
    data = read_dataset(tmp_path)
    assert len(data.samples) == 1
    assert "b.json is not JSON" in data.problems[0]
    assert "c.json is not labelme's: KeyError('label')" in data.problems[1]


def test_images_in_another_folder(tmp_path):
    photo(tmp_path / "images" / "a.jpg")
    labelme(tmp_path / "labels" / "a.json", "a.jpg", [("sofa", "polygon", [[0, 0], [7, 0], [7, 11]])])
    data = read_dataset(tmp_path)
    assert data.problems == ()
    assert data.samples[0][1].image == tmp_path / "images" / "a.jpg"
    photo(tmp_path / "other" / "a.jpg")
    assert read_dataset(tmp_path).problems == (f"1 file's image is missing: {tmp_path / 'labels' / 'a.json'}",)


@pytest.mark.parametrize(
    "points", [None, [[0, 0], ["..", 1], [5, 5]], [[0, 0], [float("nan"), 1], [5, 5]], [[1], [2], [3]]]
)
def test_points_that_are_no_places(tmp_path, points):
    photo(tmp_path / "a.jpg")
    labelme(tmp_path / "a.json", "a.jpg", [("sofa", "polygon", points)])
    [(_, sample)] = read_dataset(tmp_path).samples
    with pytest.raises(
        ValueError, match=r"a shape 'sofa' of .*a\.json (must have points|has a point that is no place)"
    ):
        sample.label_map()


def test_turned_rectangles_of_x_anylabeling(tmp_path):
    photo(tmp_path / "a.jpg")
    corners = [[2, 1], [9, 1], [9, 6], [2, 6]]
    labelme(tmp_path / "a.json", "a.jpg", [("sofa", "rotation", corners)])
    [(_, sample)] = read_dataset(tmp_path, unlabelled="background").samples
    assert (sample.label_map() == 0).sum() == 8 * 6
