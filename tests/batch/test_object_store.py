"""Images from, and results to, an object store that speaks S3."""

import io
import json

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason='pyarrow is not installed: pip install "catseg[batch]"')

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from catseg.batch.dataset import segment_dataset
from catseg.batch.local_engine import LocalEngine
from catseg.batch.packed_model import unpack_model
from catseg.batch.storage import Storage, filesystem, open_file
from catseg.batch.worker import ImageWorker
from catseg.segmenting.results import OutputError
from tests.batch.moody import manifest_rows, moody_model, write_images


@pytest.fixture(autouse=True)
def work_in_this_process(monkeypatch):
    """In place of other processes, which the tests of engines start."""

    def run(self, work, model, pieces):
        worker = ImageWorker(work, unpack_model(model, work.device))
        for piece in pieces:
            yield worker.run(piece)

    monkeypatch.setattr(LocalEngine, "run", run)


@pytest.fixture
def photos(tmp_path, s3_bucket, request):
    """Three images and a file that is none, in a folder of the bucket; and what they are on this machine."""
    here = write_images(tmp_path / "photos", 2)
    write_images(here / "trip", 1)
    (here / "notes.txt").write_text("none")
    there = f"{s3_bucket}/{request.node.name}"
    files, path = filesystem(there)
    files.put(f"{here}/", f"{path}/photos/", recursive=True)
    return here, there


def test_from_and_to_s3(photos, tmp_path):
    here, there = photos
    model = moody_model(tmp_path / "log")
    options = {"model": model, "save": ("labels", "coco", "shares")}
    found = segment_dataset(f"{there}/photos", "sofa, cat", f"{there}/out", **options)
    assert (found.done, found.failed) == (3, 0)
    assert found.left_out == {f"{there}/photos/notes.txt": "not named as an image"}
    segment_dataset(here, "sofa, cat", tmp_path / "out", **options)
    storage = Storage(f"{there}/out")
    names = [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*_labels.png")]
    assert sorted(names) == ["0000_labels.png", "0001_labels.png", "trip/0000_labels.png"]
    assert all(storage.read(name) == (tmp_path / "out" / name).read_bytes() for name in names)
    assert json.loads(storage.read("trip/0000_shares.json"))["input"] == f"{there}/photos/trip/0000.png"
    with open_file(found.manifest) as file:
        table = pq.read_table(file)
    assert sorted(table["input"].to_pylist()) == [
        f"{there}/photos/{name}.png" for name in ("0000", "0001", "trip/0000")
    ]
    assert storage.names(".catseg/parts") == storage.names(".catseg/attempts") == []


def test_going_on_in_s3(photos, tmp_path):
    _, there = photos
    options = {"model": moody_model(tmp_path / "log")}
    segment_dataset(f"{there}/photos/0*.png", "sofa, cat", f"{there}/out", **options)
    storage = Storage(f"{there}/out")
    storage.remove("manifest.parquet")  # what is left is what the output folder holds
    again = segment_dataset(f"{there}/photos", "sofa, cat", f"{there}/out", **options)
    assert (again.done, again.skipped) == (3, 0)
    seconds = {row["input"].rpartition("photos/")[2]: row["seconds"] for row in manifest_rows(storage)}
    assert [seconds["0000.png"], seconds["0001.png"]] == [0, 0]
    assert seconds["trip/0000.png"] > 0
    content = io.BytesIO()
    Image.fromarray(np.full((6, 6, 3), 7, np.uint8)).save(content, "PNG")
    Storage(there).write("photos/0001.png", content.getvalue())
    changed = segment_dataset(f"{there}/photos", "sofa, cat", f"{there}/out", **options)
    assert (changed.done, changed.skipped) == (1, 2)


def test_an_object_that_is_gone_is_a_row_with_an_error(photos, tmp_path):
    _, there = photos
    with Storage(there).writing("list.parquet") as path:
        pq.write_table(pa.table({"path": [f"{there}/photos/0000.png", "photos/none.png"]}), path)
    found = segment_dataset(f"{there}/list.parquet", "sofa, cat", tmp_path / "out", model=moody_model(tmp_path / "log"))
    assert (found.done, found.failed) == (1, 1)
    assert found.errors == {f"{there}/photos/none.png": f"nothing is at {there}/photos/none.png"}


def test_a_bucket_that_is_not_there(photos, tmp_path):
    here, _ = photos
    model = moody_model(tmp_path / "log")
    with pytest.raises(FileNotFoundError, match="nothing is at s3://no-such-bucket/photos"):
        segment_dataset("s3://no-such-bucket/photos", "sofa, cat", tmp_path / "out", model=model)
    with pytest.raises((OSError, OutputError), match="s3://no-such-bucket/out"):
        segment_dataset(here, "sofa, cat", "s3://no-such-bucket/out", model=model)
