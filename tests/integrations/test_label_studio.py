import runpy
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from catseg.api.result import Found, Result
from catseg.vocabulary import Vocabulary
from tests.integrations import label_studio_stand_in as stand_in
from tests.integrations.conftest import FOLDER

BRUSH = """<View><Image name="img" value="$photo"/><BrushLabels name="brush" toName="img">
  <Label value="Sofa"/><Label value="Cat" alias="kitten" predicted_values="tomcat, cat"/></BrushLabels></View>"""
POLYGON = BRUSH.replace("BrushLabels", "PolygonLabels").replace('"brush"', '"outline"')
BOTH = BRUSH.replace("</View>", POLYGON.partition("/>")[2])
NO_LABELS = (
    '<View><Image name="img" value="$photo"/><Choices name="kind" toName="img"><Choice value="a"/></Choices></View>'
)


@pytest.fixture
def backend(monkeypatch, integration):
    """The module, over a stand-in for version 2 of label-studio-ml."""
    monkeypatch.setitem(sys.modules, "label_studio_ml", SimpleNamespace(model=stand_in))
    monkeypatch.setitem(sys.modules, "label_studio_ml.model", stand_in)
    return integration("label_studio/model.py")


@pytest.fixture
def task(photo_file):
    return {"id": 7, "data": {"photo": str(photo_file)}}


def decoded(region):
    """A brush region as Label Studio's SDK reads it."""
    brush = pytest.importorskip("label_studio_sdk.converter.brush", reason="label-studio-sdk is not installed")
    pixels = brush.decode_rle(region["value"]["rle"])
    return pixels.reshape(region["original_height"], region["original_width"], 4)


@pytest.mark.skipif(find_spec("label_studio_sdk") is None, reason="label-studio-sdk is not installed")
@settings(max_examples=40)
@given(mask=arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=16)))
@example(mask=np.ones((200, 100), dtype=bool))  # a run longer than the longest that has a length
def test_rle_is_what_label_studios_own_decoder_reads(mask):
    labels = np.where(mask, 0, -1).astype(np.int32)
    found = Found(np.zeros((*mask.shape, 3), np.uint8), labels, np.ones(mask.shape, np.float32))
    regions = Result(names=Vocabulary(["sofa"]), found=found).to_label_studio()["result"]
    assert len(regions) == mask.any()
    for region in regions:
        pixels = decoded(region)
        np.testing.assert_array_equal(pixels, np.where(mask, 255, 0)[..., None].repeat(4, axis=2))


def test_setup(backend, loaded):
    made = backend.CATSegBackend(project_id="1", label_config=BRUSH)
    assert made.get("model_version") == "catseg v2-large"
    backend.CATSegBackend(project_id="2", label_config=POLYGON)
    assert loaded == [("v2-large", {"device": None})], "once for all projects"


def test_brush(backend, task, halves):
    (prediction,) = backend.CATSegBackend(label_config=BRUSH).predict([task])
    assert prediction["score"] == pytest.approx(0.75)
    sofa, cat = prediction["result"]
    for region, label, mask in ((sofa, "Sofa", halves), (cat, "kitten", ~halves)):
        assert (region["from_name"], region["to_name"], region["type"]) == ("brush", "img", "brushlabels")
        assert region["value"]["brushlabels"] == [label], "annotations hold the alias, if there is one"
        np.testing.assert_array_equal(decoded(region)[..., 3] == 255, mask)


@pytest.mark.parametrize("config", [BRUSH, POLYGON, BOTH])
def test_the_stand_in_parses_as_label_studio_does(config):
    name = "label_studio_sdk._extensions.label_studio_tools.core.label_config"
    real = pytest.importorskip(name, reason="label-studio-sdk is not installed").parse_config(config)
    for tag in real.values():
        tag["inputs"] = [{key: one[key] for key in ("type", "value")} for one in tag["inputs"]]
    assert stand_in.parsed(config) == real


def test_tags_that_are_for_nothing_that_can_be_segmented(backend):
    brush = stand_in.parsed(BRUSH)["brush"]
    for change in (
        {"type": "RectangleLabels"},
        {"labels": []},
        {"inputs": []},
        {"inputs": [{"type": "Video", "value": "photo"}]},
        {"inputs": [{"type": "Image", "valueList": "photos"}]},
    ):
        with pytest.raises(ValueError, match="no BrushLabels or PolygonLabels"):
            backend.find_controls({"brush": {**brush, **change}})


def test_words(backend):
    (control,) = backend.find_controls(stand_in.parsed(BRUSH))
    assert control.labels == ["Sofa", "kitten"]
    assert control.words == [("Sofa",), ("Cat", "kitten", "tomcat")], "each once, whatever its case"


def test_polygons(backend, task, monkeypatch):
    monkeypatch.setattr(backend, "TOLERANCE", 0)
    (prediction,) = backend.CATSegBackend(label_config=POLYGON).predict([task])
    sofa, cat = prediction["result"]
    assert sorted(sofa["value"]["points"]) == [[0, 0], [0, 100], [50, 0], [50, 100]], "in percent"
    assert cat["value"]["polygonlabels"] == ["kitten"]


def test_brush_and_polygons(backend, task, monkeypatch):
    monkeypatch.setattr(backend, "TOLERANCE", 0)
    (prediction,) = backend.CATSegBackend(label_config=BOTH).predict([task])
    assert [region["type"] for region in prediction["result"]] == 2 * ["brushlabels"] + 2 * ["polygonlabels"]
    assert len({region["id"] for region in prediction["result"]}) == 4


def test_a_bad_image_does_not_stop_the_rest(backend, task, tmp_path, caplog):
    (tmp_path / "broken.png").write_bytes(b"no image")
    bad = [{"id": 8, "data": {"photo": str(tmp_path / name)}} for name in ("broken.png", "absent.png")]
    first, second, third, last = backend.CATSegBackend(label_config=BRUSH).predict([*bad, {"id": 9, "data": {}}, task])
    assert first["result"] == second["result"] == third["result"] == []
    assert len(last["result"]) == 2
    assert [record.args[0] for record in caplog.records] == [8, 8, 9]


def test_a_configuration_without_regions(backend, task):
    with pytest.raises(ValueError, match="no BrushLabels or PolygonLabels"):
        backend.CATSegBackend(label_config=NO_LABELS).predict([task])


def test_the_real_server(monkeypatch, integration, task, halves):
    """Over HTTP, with whatever version is installed: 1.0.9 is the newest on PyPI."""
    api = pytest.importorskip("label_studio_ml.api", reason="label-studio-ml is not installed")
    backend = integration("label_studio/model.py")
    client = api.init_app(backend.CATSegBackend).test_client()
    setup = {"project": "1.1700000000", "schema": BRUSH, "hostname": "", "access_token": ""}
    assert "model_version" in client.post("/setup", json=setup).get_json()
    task["data"]["photo"] = f"/data/local-files/?d={task['data']['photo'].removeprefix('/')}"
    request = {"tasks": [task, {"id": 8, "data": {"photo": "/data/local-files/?d=nowhere.png"}}], "label_config": BRUSH}
    answer = client.post("/predict", json={**request, "project": "1.1700000000"})
    assert answer.status_code == 200
    good, bad = answer.get_json()["results"]
    assert bad["result"] == []
    assert [region["value"]["brushlabels"] for region in good["result"]] == [["Sofa"], ["kitten"]]
    np.testing.assert_array_equal(decoded(good["result"][0])[..., 3] == 255, halves)


def test_the_server_loads_the_model_when_it_starts(monkeypatch, backend, loaded):
    monkeypatch.setitem(sys.modules, "label_studio_ml.api", SimpleNamespace(init_app=lambda model_class: model_class))
    monkeypatch.setitem(sys.modules, "model", backend)
    assert runpy.run_path(str(FOLDER / "label_studio" / "_wsgi.py"))["app"] is backend.CATSegBackend
    assert len(loaded) == 1
