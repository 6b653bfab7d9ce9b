"""X-AnyLabeling-Server is on no registry: its interface is a stand-in here, made from its user guide and schema."""

import sys
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import yaml

from tests.integrations.conftest import FOLDER

REGISTRY = {}
# What the server checks of a model's widgets, see its configuration guide.
NEED_A_VALUE = {"edit_conf", "edit_iou", "mask_fineness_slider", "toggle_preserve_existing_annotations"}


class BaseModel:
    def __init__(self, config):
        self.model_id = config["model_id"]
        self.display_name = config["display_name"]
        self.params = config.get("params", {})


@dataclass(kw_only=True)
class Shape:
    label: str
    shape_type: str
    points: list
    score: float | None = None

    def __post_init__(self):
        assert self.shape_type in ("polygon", "rectangle", "rotation", "point", "line", "circle", "linestrip")
        assert all(isinstance(value, float) for point in self.points for value in point)
        assert self.score is None or 0 <= self.score <= 1


def register_model(*names):
    def register(kind):
        REGISTRY.update(dict.fromkeys(names, kind))
        return kind

    return register


@pytest.fixture
def server_model(monkeypatch, integration):
    contents = {
        "app": {},
        "app.core": {},
        "app.core.registry": {"register_model": register_model},
        "app.models": {"BaseModel": BaseModel},
        "app.schemas": {},
        "app.schemas.shape": {"Shape": Shape},
    }
    for name, values in contents.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    integration("x_anylabeling/catseg_model.py")
    config = settings()
    model = REGISTRY[config["model_id"]]({**config, "params": {**config["params"], "tolerance": 0.0}})
    model.load()
    yield model
    model.unload()


def settings():
    return yaml.safe_load((FOLDER / "x_anylabeling" / "catseg.yaml").read_text())


def test_settings():
    widgets = {widget["name"]: widget["value"] for widget in settings()["widgets"]}
    assert "button_send" in widgets, "which edit_text needs"
    assert all(widgets[name] is not None for name in NEED_A_VALUE & set(widgets))


def test_a_text_prompt(server_model, loaded, photo):
    assert loaded == [("v2-large", {"device": None})]
    answer = server_model.predict(photo[:, :, ::-1], {"text_prompt": "sofa, cat | kitten"})
    assert answer["description"] == ""
    sofa, cat = answer["shapes"]
    assert (sofa.label, cat.label) == ("sofa", "cat")
    assert sofa.points[0] == sofa.points[-1], "as the server's other models close their polygons"
    assert {tuple(point) for point in sofa.points} == {(0, 0), (20, 0), (20, 30), (0, 30)}
    assert sofa.score == pytest.approx(0.75)


@pytest.mark.parametrize("text", ["sofa.cat", "sofa, cat", "sofa;cat.", "sofa\ncat"])
def test_separators(server_model, photo, text):
    assert [shape.label for shape in server_model.predict(photo, {"text_prompt": text})["shapes"]] == ["sofa", "cat"]


def test_threshold_and_crumbs(server_model, photo):
    assert server_model.predict(photo, {"text_prompt": "sofa", "conf_threshold": 0.8})["shapes"] == []
    server_model.params["min_pixels"] = 601
    assert server_model.predict(photo, {"text_prompt": "sofa,cat"})["shapes"] == []


def test_colours_are_turned_round(server_model, photo, monkeypatch):
    seen = []
    segment = server_model.model.segment
    monkeypatch.setattr(
        server_model.model, "segment", lambda image, *args, **kw: seen.append(image) or segment(image, *args, **kw)
    )
    server_model.predict(photo[:, :, ::-1], {"text_prompt": "sofa"})
    np.testing.assert_array_equal(seen[0], photo)


def test_files_of_the_server_are_not_read(server_model, photo, tmp_path):
    (tmp_path / "secret.txt").write_text("password")
    found = server_model.predict(photo, {"text_prompt": str(tmp_path / "secret.txt")})
    assert "password" not in [shape.label for shape in found["shapes"]]


def test_nothing_to_look_for(server_model, photo):
    with pytest.raises(ValueError, match="no classes to look for"):
        server_model.predict(photo, {})
    server_model.params["classes"] = ["chair"]
    assert [shape.label for shape in server_model.predict(photo, {"text_prompt": " "})["shapes"]] == ["chair"]
