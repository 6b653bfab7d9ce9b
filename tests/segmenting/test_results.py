import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from catseg.api.result import Found, Result
from catseg.modeling.image_logits import ImageLogits
from catseg.modeling.layers.chunking import ChunkSizes
from catseg.modeling.sliding_window import WholeImage
from catseg.segmenting import results
from catseg.segmenting.inputs import InputImage
from catseg.segmenting.results import OutputError, ResultFolder
from catseg.vocabulary import Vocabulary

ALL = ("overlay", "labels", "side by side", "scores", "confidence", "class scores")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "photos" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(b"content")
    return InputImage(path, "trip/a")


@pytest.fixture
def segmentation():
    maps = torch.rand(1, 2, 20, 30, generator=torch.Generator().manual_seed(0))
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    logits = ImageLogits(maps.logit(), WholeImage(), ChunkSizes(), (20, 30), (20, 30))
    labels, scores = logits.labels()
    found = Found(image, labels.int().numpy(), scores.numpy(), logits)
    return Result(names=Vocabulary(["sofa", "cat"]), found=found)


def folder(tmp_path, images, *, settings=("a",), image_format="png", kinds=(*ALL, "shares")):
    made = ResultFolder(tmp_path / "out", images, kinds, image_format)
    made.prepare(settings, files=["", str(tmp_path / "weights.pth")])
    return made


def test_all_results(tmp_path, source, segmentation):
    record = folder(tmp_path, [source]).save(source, segmentation)
    assert tuple(record["files"]) == ALL
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert written == {*record["files"].values(), "trip/a_shares.json"}
    assert json.loads((tmp_path / "out/trip/a_shares.json").read_text()) == record
    assert record["name"] == "trip/a.jpg"
    assert (record["width"], record["height"]) == (30, 20)
    assert sum(record["classes"].values()) == pytest.approx(1)


def test_only_what_is_asked_for(tmp_path, source, segmentation):
    made = folder(tmp_path, [source], image_format="jpg", kinds=["overlay", "labels", "shares"])
    assert made.save(source, segmentation)["files"] == {
        "overlay": "trip/a_overlay.jpg",
        "labels": "trip/a_labels.png",
    }


def test_finished(tmp_path, source, segmentation):
    made = folder(tmp_path, [source])
    assert made.finished(source) is None
    record = made.save(source, segmentation)
    assert made.finished(source) == record
    assert folder(tmp_path, [source]).finished(source) == record
    assert folder(tmp_path, [source], settings=["b"]).finished(source) is None
    assert folder(tmp_path, [source], kinds=["overlay", "shares"]).finished(source) is None


@pytest.mark.parametrize("change", ["image", "weights", "missing", "damaged", "other json"])
def test_finished_no_more(tmp_path, source, segmentation, change):
    folder(tmp_path, [source]).save(source, segmentation)
    if change == "image":
        source.path.write_bytes(b"other content")
    elif change == "weights":
        (tmp_path / "weights.pth").write_bytes(b"new")
    elif change == "missing":
        (tmp_path / "out/trip/a_labels.png").unlink()
    else:
        (tmp_path / "out/trip/a_shares.json").write_text("{" if change == "damaged" else "[]")
    assert folder(tmp_path, [source]).finished(source) is None


def test_an_image_is_never_replaced(tmp_path, source):
    images = [source, InputImage(tmp_path / "out" / "trip" / "a_overlay.png", "b")]
    with pytest.raises(ValueError, match=r"a_overlay\.png would replace an image"):
        folder(tmp_path, images)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("code", "expected"), [(errno.ENOSPC, OutputError), (errno.ENAMETOOLONG, OSError)])
def test_errors_in_writing(tmp_path, source, segmentation, monkeypatch, code, expected):
    def fail(self, data):
        raise OSError(code, "cannot be written")

    made = folder(tmp_path, [source])
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(expected, match="cannot be written"):
        made.save(source, segmentation)
    assert not list((tmp_path / "out").rglob("*.*"))


def test_summary_with_names_that_are_no_unicode(tmp_path, source, segmentation):
    made = folder(tmp_path, [source])
    record = made.save(source, segmentation)
    about = {"classes": ("sofa", "cat"), "trained": True}
    made.write_summary(about, [record], {"caf\udce9.jpg": "天空"})
    text = (tmp_path / "out" / "summary.json").read_text(encoding="utf-8")
    assert "天空" in text
    assert json.loads(text)["failed"] == {"caf\udce9.jpg": "天空"}
    assert (tmp_path / "out" / "index.html").is_file()


def test_file_state_of_nothing(tmp_path):
    assert results._file_state(tmp_path / "missing") is None
