import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from catseg.api.result import Found, Result
from catseg.vocabulary import Vocabulary
from tests.fake_module import fake_model

NAMES = Vocabulary(["sofa", ("cat", "kitten"), "cat"])
LABELS = np.array([[0, 0, 1, -1], [0, 0, 1, 1], [2, 2, -1, -1]], dtype=np.int32)


@pytest.fixture
def result():
    image = np.full((*LABELS.shape, 3), 100, dtype=np.uint8)
    scores = np.linspace(0, 1, LABELS.size, dtype=np.float32).reshape(LABELS.shape)
    return Result(names=NAMES, source=Path("photos/a.jpg"), found=Found(image, LABELS, scores))


def as_json(value):
    return json.loads(json.dumps(value, allow_nan=False))


def test_masks_by_name(result):
    np.testing.assert_array_equal(result.mask("sofa"), LABELS == 0)
    np.testing.assert_array_equal(result.mask("kitten"), LABELS == 1)
    np.testing.assert_array_equal(result.mask("cat"), LABELS == 2), "a whole name goes before a synonym"
    with pytest.raises(ValueError, match="did you mean 'sofa'"):
        result.mask("sofas")


def test_share(result):
    assert result.share() == {"sofa": 4 / 12, "cat, kitten": 3 / 12, "cat": 2 / 12}


def test_coco(result):
    coco = as_json(result.to_coco())
    assert coco["images"] == [{"id": 1, "file_name": "a.jpg", "height": 3, "width": 4}]
    assert [category["name"] for category in coco["categories"]] == list(NAMES)
    for annotation in coco["annotations"]:
        mask = annotation["category_id"] - 1 == LABELS
        np.testing.assert_array_equal(coco_mask.decode(annotation["segmentation"]), mask)
        assert annotation["area"] == mask.sum()
        assert annotation["score"] == pytest.approx(float(result.scores[mask].mean()))
    assert coco["annotations"][1]["bbox"] == [2, 0, 2, 2]


def test_labelme(result):
    labelme = as_json(result.to_labelme())
    assert (labelme["imagePath"], labelme["imageHeight"], labelme["imageWidth"]) == ("a.jpg", 3, 4)
    drawn = Image.new("I", (40, 30), -1)
    for shape in labelme["shapes"]:
        points = [(10 * x - 0.5, 10 * y - 0.5) for x, y in shape["points"]]
        ImageDraw.Draw(drawn).polygon(points, fill=NAMES.index(shape["label"]))
    np.testing.assert_array_equal(np.asarray(drawn)[5::10, 5::10], LABELS)


def test_geojson(result):
    features = as_json(result.to_geojson())["features"]
    assert [feature["properties"]["name"] for feature in features] == list(NAMES)
    for feature in features:
        (region,) = feature["geometry"]["coordinates"]
        assert region[0][0] == region[0][-1], "rings are closed"
        x, y = np.array(region[0]).T
        assert abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2 == feature["properties"]["pixels"]


def decoded(rle, shape):
    """Label Studio's own way of reading its RLE: bits of an RGBA image in runs."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    position = 0

    def read(count):
        nonlocal position
        position += count
        return int(bits[position - count : position], 2)

    length, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values = np.zeros(length, dtype=np.uint8)
    at = 0
    while at < length:
        is_run = read(1)
        end = at + 1 + read(sizes[read(2)])
        if is_run:
            values[at:end] = read(word)
        else:
            values[at:end] = [read(word) for _ in range(end - at)]
        at = end
    return values.reshape(*shape, 4)[..., 3]


@pytest.mark.parametrize("shape", [(3, 4), (300, 400)])
def test_label_studio(shape):
    labels = np.random.default_rng(0).integers(-1, 3, shape, dtype=np.int32)
    labels[: shape[0] // 2] = 1  # a run longer than the longest that has a length
    image, scores = np.zeros((*shape, 3), np.uint8), np.ones(shape, np.float32)
    prediction = as_json(Result(names=NAMES, found=Found(image, labels, scores)).to_label_studio(from_name="brush"))
    assert len(prediction["result"]) == 3
    for place, region in enumerate(prediction["result"]):
        assert region["value"]["brushlabels"] == [NAMES[place]]
        assert (region["original_height"], region["original_width"]) == shape
        assert region["from_name"] == "brush"
        np.testing.assert_array_equal(decoded(region["value"]["rle"], shape) > 0, labels == place)


def test_label_studio_polygons(result):
    prediction = as_json(result.to_label_studio(labels=["Sofa", "Cat", "Other"], polygons=True))
    (sofa,) = [region for region in prediction["result"] if region["value"]["polygonlabels"] == ["Sofa"]]
    assert sofa["type"] == "polygonlabels"
    assert sorted(sofa["value"]["points"]) == [
        [0, 0],
        [0, pytest.approx(200 / 3)],
        [50, 0],
        [50, pytest.approx(200 / 3)],
    ]
    assert prediction["score"] == pytest.approx(np.mean([shape.score for shape in result.shapes()]))
    assert len({region["id"] for region in prediction["result"]}) == len(prediction["result"])
    with pytest.raises(ValueError, match="a label for each of 3 classes, got 1"):
        result.to_label_studio(labels=["Sofa"])


def test_shapes(result):
    shapes = result.shapes()
    assert [(shape.index, shape.name, shape.box) for shape in shapes] == [
        (0, "sofa", (0, 0, 2, 2)),
        (1, "cat, kitten", (2, 0, 4, 2)),
        (2, "cat", (0, 2, 2, 3)),
    ]
    for shape in shapes:
        np.testing.assert_array_equal(shape.mask, shape.index == LABELS)
        assert shape.score == pytest.approx(float(result.scores[shape.mask].mean()))
        assert len(shape.polygons()) == 1


def test_crumbs_are_left_out_of_one_class_and_filled_in_another():
    labels = np.zeros((9, 12), dtype=np.int32)
    labels[2, 2], labels[:, 9:], labels[8, 0] = 1, 1, -1
    scores = np.where(labels == 0, 0.9, 0.6).astype(np.float32)
    scores[2, 2] = 0.1
    result = Result(names=NAMES, found=Found(np.zeros((9, 12, 3), np.uint8), labels, scores))
    sofa, cat = result.shapes(min_pixels=3)
    assert (sofa.score, cat.score) == pytest.approx((0.9, 0.6)), "of the class's own pixels that are left"
    assert sofa.mask.sum() + cat.mask.sum() == labels.size - 1
    assert sofa.mask[2, 2]
    assert not (sofa.mask & cat.mask).any()
    assert len(result.to_labelme(min_pixels=3)["shapes"]) == 2 < len(result.to_labelme()["shapes"])
    assert len(result.to_geojson(min_pixels=3)["features"][1]["geometry"]["coordinates"]) == 1
    assert result.to_coco(min_pixels=3)["annotations"][1]["area"] == 27
    assert result.shapes(min_pixels=1000) == []


def test_supervision(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    found = result.to_supervision()
    np.testing.assert_array_equal(found.class_id, [0, 1, 2])
    np.testing.assert_array_equal(found.mask[1], LABELS == 1)
    np.testing.assert_array_equal(found.xyxy[1], [2, 0, 4, 2])
    assert found.data["class_name"].tolist() == list(NAMES)
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(RuntimeError, match="pip install supervision"):
        result.to_supervision()


def test_images_and_files(tmp_path):
    image = np.random.default_rng(0).integers(1, 256, (30, 40, 3), dtype=np.uint8)
    result = fake_model().segment(image, ["sofa", "cat"])
    assert result.overlay(legend=False).shape == (390, 520, 3)
    assert result.plot().size == result.overlay().shape[1::-1]
    with Image.open(io.BytesIO(result._repr_png_())) as drawing:
        assert drawing.size == result.overlay().shape[1::-1]
    result.save(tmp_path / "overlay.jpg")
    result.save_labels(tmp_path / "labels.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "labels.png")), result.labels)
    result.save_scores(tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz") as stored:
        np.testing.assert_allclose(stored["scores"], result.class_scores, atol=1e-3)
        assert tuple(stored["names"]) == result.names
    assert result.confidence_image().ndim == result.class_scores_image(limit=1).ndim == 3


def test_nothing_at_all(tmp_path):
    image = np.full((8, 9, 3), 5, dtype=np.uint8)
    result = fake_model().segment(image, ["sofa", "cat"], threshold=1)
    assert result.share() == {}
    result.save_labels(tmp_path / "labels.png")
    assert (np.asarray(Image.open(tmp_path / "labels.png")) == 255).all()
    assert result.to_coco()["annotations"] == result.to_labelme()["shapes"] == []
    assert result.class_scores_image().ndim == result.overlay().ndim == 3
