import base64
import io
import json
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.app.conftest import Counting, make_service, picture

gradio = pytest.importorskip("gradio", reason="the app needs gradio: pip install catseg[app]")
httpx = pytest.importorskip("httpx", reason="comes with gradio")

from gradio_client import Client, handle_file  # noqa: E402

from catseg.app.server import Access, serving  # noqa: E402


@pytest.fixture(scope="module")
def running():
    """One server for most tests: its address and its module."""
    module = Counting()
    with serving(make_service(module), Access()) as (address, public):
        assert public is None
        yield address.rstrip("/"), module


@pytest.fixture
def server(running):
    return running[0]


@pytest.fixture
def served_module(running):
    return running[1]


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "holiday.png"
    path.write_bytes(picture())
    return handle_file(path)


def data_image(content):
    return {"url": f"data:image/png;base64,{base64.b64encode(content).decode()}", "orig_name": "mine.png"}


def call(server, name, *values, **options):
    """Call the API as any HTTP client does; returns the event and its data."""
    begun = httpx.post(f"{server}/gradio_api/call/{name}", json={"data": list(values)}, **options)
    if begun.status_code != 200:
        return begun.status_code, begun.text
    answer = httpx.get(f"{server}/gradio_api/call/{name}/{begun.json()['event_id']}", timeout=30).text
    event, _, data = answer.strip().rpartition("event: ")[2].partition("\ndata: ")
    return event, json.loads(data)


def segment(server, content, words="left, right", **changes):
    values = {
        "image": data_image(content),
        "words": words,
        "vocabulary": "",
        "threshold": 0.5,
        "background": "",
        "files": "labels",
        "opacity": 0.5,
        "model": "shapes",
        "device": "cpu",
    } | changes
    return call(server, "segment", *values.values())


def uploads():
    return [path for path in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if path.is_file()]


def test_health(server):
    answer = httpx.get(f"{server}/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_gradios_client(server, image, served_module):
    before = served_module.encoded
    client = Client(server, verbose=False)
    found = client.predict(
        image, "left | l, right, LEFT | l", files="overlay, labels, coco, labelme", api_name="/segment"
    )
    assert (found["width"], found["height"]) == (60, 40)
    assert found["names"] == ["left, l", "right"]
    assert found["classes"] == {"left, l": 0.5, "right": 0.5}
    assert found["notes"] == ["name 3, “LEFT, l”, repeats name 1: left out"]
    labels = found["files"]["labels"]
    assert labels["name"] == "holiday_labels.png"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(labels["url"].partition(",")[2]))))
    assert (pixels[:, :30] == 0).all()
    assert (pixels[:, 30:] == 1).all()
    assert set(found["files"]) == {"overlay", "labels", "coco", "labelme"}
    client.predict(image, "this, that", api_name="/segment")
    assert served_module.encoded == before + 1
    assert uploads() == []
    assert client.predict("a, b, B", api_name="/names")["count"] == 2
    assert client.predict(api_name="/models")["models"] == ["shapes", "v2-base"]


def test_one_call_without_upload(server):
    event, (found,) = segment(server, picture(), background="other", threshold=0.9)
    assert event == "complete"
    assert found["classes"] == {"other": 1.0}
    assert found["files"]["labels"]["name"] == "mine_labels.png"
    assert uploads() == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"words": ""}, "no names: write what to look for"),
        ({"words": "a,,b"}, "name 2 of your names has an empty name"),
        ({"vocabulary": "../secret"}, "no vocabulary is called '../secret'"),
        ({"vocabulary": "ade20k_847"}, "847 names, this server takes 200"),
        ({"model": "/etc/passwd"}, "no model is called"),
        ({"device": "tpu"}, "no device is called"),
        ({"files": "exe"}, "files are some of overlay, labels, coco, labelme"),
        ({"threshold": 2}, "the threshold is a number from 0 to 1"),
        ({"image": None}, "no image: give one"),
        ({"image": data_image(b"text")}, "the file is no image"),
        ({"image": data_image(picture(900, 900, kind="PNG")[:1000])}, "900 x 900 = 0.8 million pixels"),
        ({"image": data_image(bytes(600_000))}, "the image's file has 0.6 MB, this server takes 0.5"),
    ],
)
def test_errors_are_readable(server, changes, reason):
    event, data = segment(server, picture(), **changes)
    assert event == "error"
    assert reason in data["error"]
    assert "Traceback" not in str(data)


def test_faults_of_the_code_are_told_by_number_alone(server, served_module, monkeypatch, caplog):
    def broken(features):
        raise KeyError("/home/me/secret")

    monkeypatch.setattr(served_module, "classify", broken)
    with caplog.at_level(logging.ERROR):
        event, data = segment(server, picture())
    assert event == "error"
    assert "finds it in the log as" in data["error"]
    assert "secret" not in str(data)
    assert data["error"].rpartition(" ")[2] in caplog.text
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    "given",
    [
        {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": "http://127.0.0.1:1/a.png", "meta": {"_type": "gradio.FileData"}},
        {"path": "https://example.com/a.png", "meta": {"_type": "gradio.FileData"}},
        {"path": "/etc/passwd"},
    ],
)
def test_nothing_is_read_or_fetched_for_a_caller(server, given, caplog):
    event, data = segment(server, picture(), image=given)
    assert event == "error"
    assert "root:" not in str(data)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/deep_link?session_hash=a",
        "/gradio_api/file=https://example.com/a.png",
        "/gradio_api/proxy=https://example.com/",
        "/monitoring",
        "/gradio_api/dev/reload",
    ],
)
def test_what_gradio_has_and_the_app_has_no_use_for_is_closed(server, path):
    assert httpx.get(server + path).status_code == 404


def test_files_of_the_machine_are_not_served(server):
    assert httpx.get(f"{server}/gradio_api/file=/etc/passwd").status_code in (403, 404)


def test_a_name_from_elsewhere_does_not_lead_here(server):
    assert httpx.get(f"{server}/health", headers={"Host": "evil.example"}).status_code == 400


def test_large_requests_end_early(server):
    answer = httpx.post(f"{server}/gradio_api/call/segment", content=bytes(3_000_000))
    assert answer.status_code == 413
    assert answer.text == "The request has 3.0 MB, this server takes 1.7."
    upload = httpx.post(f"{server}/gradio_api/upload", files={"files": ("a.png", bytes(700_000))})
    assert upload.status_code == 413
    assert uploads() == []

    def pieces():
        yield b"no length"

    assert httpx.post(f"{server}/gradio_api/call/segment", content=pieces()).status_code == 411


def test_a_full_queue_says_so(service, module, monkeypatch):
    object.__setattr__(service.limits, "queue", 1)
    go_on = threading.Event()
    real = module.encode_image
    monkeypatch.setattr(module, "encode_image", lambda item: go_on.wait(20) and real(item))
    try:
        with serving(service, Access()) as (address, _), ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(segment, address.rstrip("/"), picture(seed=seed)) for seed in range(4)]
            threading.Timer(4, go_on.set).start()
            events = [answer.result(40) for answer in answers]
    finally:
        go_on.set()
        object.__setattr__(service.limits, "queue", 8)
    refused = [text for event, text in events if event == 503]
    assert refused
    assert all("Queue is full" in text for text in refused)
    assert any(event == "complete" for event, _ in events)


def test_callers_without_the_password_get_nothing(service):
    with serving(service, Access(users=(("ann", "secret"),))) as (address, _):
        server = address.rstrip("/")
        assert segment(server, picture())[0] == 401
        assert httpx.get(f"{server}/config").status_code == 401
        assert httpx.get(f"{server}/health").status_code == 200
        with pytest.raises(Exception, match=r"(?i)incorrect|credentials|401|could not"):
            Client(server, auth=("ann", "wrong"), verbose=False)
        client = Client(server, auth=("ann", "secret"), verbose=False)
        assert client.predict("a", api_name="/names")["count"] == 1


def test_private_events_are_no_part_of_the_api(server):
    described = httpx.get(f"{server}/gradio_api/info").json()
    assert set(described["named_endpoints"]) == {"/segment", "/names", "/models"}


def test_nothing_stays_behind(service):
    with serving(service, Access()):
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    ("access", "text"),
    [
        (Access(), "Only this machine can reach it; --share, a public link, is off."),
        (Access(host="0.0.0.0"), "It listens on 0.0.0.0: everyone who can reach this machine can use it; --share"),
        (Access(share=True, users=(("a", "b"),)), "--share is on: users with a password who has the public link"),
    ],
)
def test_who_can_reach_it_is_said(access, text):
    assert access.describe().startswith(text)
