"""With the real cvat-sdk, whose driver checks what a function gives; a CVAT server is not needed."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cvat_sdk", reason="cvat-sdk is not installed")

import cvat_sdk.auto_annotation as cvataa
from cvat_sdk import models
from cvat_sdk.auto_annotation import driver
from cvat_sdk.masks import decode_mask

from tests.fake_module import fake_model
from tests.integrations.conftest import FOLDER


@pytest.fixture
def module(integration):
    return integration("cvat/function.py")


@pytest.fixture
def function(module):
    return module.CATSegFunction(fake_model(), ["sofa", "cat | kitten"], tolerance=0, min_pixels=0)


def context(threshold=None, polygons=False):
    return driver._DetectionFunctionContextImpl(
        frame_name="photo.png", conf_threshold=threshold, conv_mask_to_poly=polygons
    )


def label(name, number, kind="any"):
    return SimpleNamespace(name=name, id=number, type=kind, attributes=[], sublabels=[])


@pytest.fixture
def task(monkeypatch, photo):
    """A client whose task 7 has one image and the labels cat (71) and sofa (72), and what is uploaded to it."""
    labels, uploaded = [label("cat", 71), label("sofa", 72)], []
    sample = SimpleNamespace(
        frame_name="photo.png", frame_index=3, media=SimpleNamespace(load_image=lambda: Image.fromarray(photo))
    )
    monkeypatch.setattr(
        driver, "TaskDataset", lambda client, number, **options: SimpleNamespace(labels=labels, samples=[sample])
    )

    def partial_update_annotations(action, number, patched_labeled_data_request):
        uploaded.append((action, number, patched_labeled_data_request.shapes))

    tasks = SimpleNamespace(
        retrieve=lambda number: SimpleNamespace(get_labels=lambda: labels),
        api=SimpleNamespace(partial_update_annotations=partial_update_annotations),
    )
    return SimpleNamespace(tasks=tasks, logger=SimpleNamespace(info=lambda *args: None)), uploaded


def test_spec(function):
    assert isinstance(function.spec, cvataa.DetectionFunctionSpec)
    assert [(one.name, one.id, one.type) for one in function.spec.labels] == [("sofa", 0, "mask"), ("cat", 1, "mask")]


def test_masks(function, photo, halves):
    found = function.detect(context(), Image.fromarray(photo))
    assert [shape.label_id for shape in found] == [0, 1]
    for shape, mask in zip(found, (halves, ~halves), strict=True):
        assert shape.score == pytest.approx(0.75)
        np.testing.assert_array_equal(decode_mask(shape.points, image_width=40, image_height=30), mask)


def test_polygons(function, photo):
    sofa, _ = function.detect(context(polygons=True), Image.fromarray(photo))
    assert sofa.type == models.ShapeType("polygon")
    assert sorted(zip(sofa.points[::2], sofa.points[1::2], strict=True)) == [(0, 0), (0, 30), (20, 0), (20, 30)]


def test_threshold(function, photo):
    assert len(function.detect(context(threshold=0.7), Image.fromarray(photo))) == 2
    assert function.detect(context(threshold=0.8), Image.fromarray(photo)) == []


@pytest.mark.parametrize(("polygons", "kind"), [(False, "mask"), (True, "polygon")])
def test_a_task_gets_its_own_labels(module, task, polygons, kind):
    client, uploaded = task
    module.annotate(client, 7, fake_model(), polygons=polygons, threshold=None)
    ((action, number, shapes),) = uploaded
    assert (action, number) == ("create", 7)
    assert [(shape.label_id, shape.frame, shape.type.value) for shape in shapes] == [(71, 3, kind), (72, 3, kind)]


def test_create(module, loaded):
    function = module.create(model="shapes", labels="sofa, cat | kitten,", device="cpu")
    assert loaded == [("shapes", {"device": "cpu"})]
    assert [one.name for one in function.spec.labels] == ["sofa", "cat"]
    with pytest.raises(ValueError, match="the vocabulary"):
        module.create(model="shapes")


def test_cvat_cli_makes_the_function(loaded):
    common = pytest.importorskip("cvat_cli._internal.common", reason="cvat-cli is not installed")
    parsers = pytest.importorskip("cvat_cli._internal.parsers")
    typed = ["model=str:shapes", "labels=str:sofa, cat | kitten", "tolerance=float:1.5", "min_pixels=int:9"]
    options = dict(parsers.parse_function_parameter(option) for option in typed)
    function = common.FunctionLoader(None, FOLDER / "cvat" / "function.py", options).load()
    assert loaded == [("shapes", {"device": None})]
    assert [one.name for one in function.spec.labels] == ["sofa", "cat"]
    assert (function.tolerance, function.min_pixels) == (1.5, 9)


def test_command(module, task, loaded, monkeypatch):
    client, uploaded = task

    class Connected:
        def __enter__(self):
            return client

        def __exit__(self, *error):
            pass

    made = []
    monkeypatch.setattr(module, "make_client", lambda *args, **options: made.append((args, options)) or Connected())
    monkeypatch.setenv("PASS", "secret")
    monkeypatch.setattr(
        "sys.argv", ["function.py", "7", "--user", "me", "--model", "shapes", "--polygons", "--threshold", "0.6"]
    )
    module.main()
    assert made == [(("http://localhost:8080",), {"credentials": ("me", "secret")})]
    assert loaded == [("shapes", {})]
    assert [shape.type.value for shape in uploaded[0][2]] == ["polygon", "polygon"]
