"""What a worker does with a piece of the work, in this process and with a network that needs no weights."""

import errno
import json
import threading
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason='pyarrow is not installed: pip install "catseg[batch]"')

from PIL import Image

from catseg.batch import worker as worker_module
from catseg.batch.attempts import FOLDER, MOST_DEATHS, Attempts
from catseg.batch.manifest import Manifest
from catseg.batch.references import find_references
from catseg.batch.storage import Storage
from catseg.batch.worker import ImageWorker, Work, piece_name
from catseg.segmenting import results as results_module
from catseg.segmenting.job import OutputError, prepare_results
from catseg.segmenting.results import ResultFolder
from catseg.vocabulary import load_vocabulary
from tests.batch.moody import manifest_rows, moody_model, worked_on, write_images


@pytest.fixture
def model(tmp_path):
    return moody_model(tmp_path / "log")


@pytest.fixture
def references(tmp_path):
    write_images(tmp_path / "photos", 6)
    return find_references([str(tmp_path / "photos")], str(tmp_path / "out"))[0]


@pytest.fixture
def work(tmp_path, model):
    return made_work(tmp_path, model)


def made_work(tmp_path, model):
    classes = load_vocabulary(["sofa", "cat"])
    results = ResultFolder(tmp_path / "out", [], ("labels", "shares"), "png")
    prepare_results(results, model, classes, {})
    return Work(
        classes=classes,
        options={},
        results=results,
        storage=Storage(str(tmp_path / "out")),
        run=1,
        resumes=False,
        device="cpu",
        cores=1,
    )


def images_worked_on(tmp_path):
    return [image for images in worked_on(tmp_path / "log").values() for image in images]


def test_a_piece_becomes_results_rows_and_a_part(tmp_path, work, model, references):
    rows = ImageWorker(work, model).run(references)
    assert [row["input"] for row in rows] == [reference.input for reference in references]
    assert rows[0]["outputs"] == {"labels": "0000_labels.png"}
    assert rows[0]["shares"] == {"sofa": 0.5, "cat": 0.5}
    assert all(row["error"] is None and row["seconds"] > 0 for row in rows)
    assert np.array_equal(np.unique(np.asarray(Image.open(tmp_path / "out/0000_labels.png"))), [0, 1])
    manifest = Manifest(work.storage)
    manifest.merge()
    assert manifest_rows(work.storage) == rows
    assert not work.storage.names(FOLDER)


def test_a_bad_image_is_a_row_with_an_error(tmp_path, work, model, references):
    (tmp_path / "photos/0002.png").write_text("no image")
    (tmp_path / "photos/0003.png").unlink()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "photos/0004.png")  # has no number
    rows = ImageWorker(work, model).run(references)
    errors = [row["error"] for row in rows]
    assert errors[:2] == [None, None]
    assert errors[2] == "is no image of a kind that can be read"
    assert "0003.png" in errors[3] or "no" in errors[3]
    assert "not numbers" in errors[4]
    assert errors[5] is None
    assert not (tmp_path / "out/0002_shares.json").exists()


def test_what_the_output_folder_holds_is_kept(tmp_path, work, model, references):
    first = ImageWorker(work, model).run(references[:3])
    again = ImageWorker(replace(work, resumes=True), model).run(references)
    assert len(images_worked_on(tmp_path)) == 6
    assert [row["seconds"] for row in again[:3]] == [0.0] * 3
    assert [row["shares"] for row in again[:3]] == [row["shares"] for row in first]
    (tmp_path / "out/0001_labels.png").unlink()
    ImageWorker(replace(work, resumes=True), model).run(references)
    assert images_worked_on(tmp_path)[6:] == ["0001.png"]


def test_a_full_disk_loses_nothing(tmp_path, work, model, references, monkeypatch):
    def full(result, files):
        if "0003_labels" in str(files["labels"]):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(result, files)

    write = results_module.write_result
    with monkeypatch.context() as patch:
        patch.setattr(results_module, "write_result", full)
        with pytest.raises(OutputError, match="No space left"):
            ImageWorker(work, model).run(references)
    assert not list((tmp_path / "out").rglob("*.partial*"))
    before = len(images_worked_on(tmp_path))
    rows = ImageWorker(work, model).run(references)
    assert [row["error"] for row in rows] == [None] * 6
    assert {"0000.png", "0001.png", "0002.png"}.isdisjoint(images_worked_on(tmp_path)[before:])


def test_an_image_that_ends_processes_is_given_up(tmp_path, work, model, references):
    """The processes are gone after they noted the image; here, they are thought of."""
    piece = piece_name(references)
    Attempts(work.storage, piece)
    for _ in range(MOST_DEATHS):
        attempts = Attempts(work.storage, piece)
        assert attempts.again
        assert not attempts.gives_up(references[2].input)
        attempts.begin(references[2].input)
    rows = {row["input"]: row for row in ImageWorker(work, model).run(references)}
    assert "2 processes ended while they worked on it" in rows[references[2].input]["error"]
    assert sum(row["error"] is None for row in rows.values()) == 5
    assert "0002.png" not in images_worked_on(tmp_path)
    assert not work.storage.names(FOLDER)


def test_a_first_attempt_notes_no_image(work, references):
    attempts = Attempts(work.storage, "p")
    assert not attempts.again
    assert json.loads(work.storage.read(f"{FOLDER}/p.json")) == {"image": None, "deaths": {}}


def test_few_images_are_in_memory_at_once(tmp_path, work, model, monkeypatch):
    """Read but not yet written: the same few for 20 images and for 80."""
    write_images(tmp_path / "photos", 80)
    references = find_references([str(tmp_path / "photos")], str(tmp_path / "out"))[0]
    lock, there, most = threading.Lock(), [0], [0]
    read, save = ImageWorker._read, worker_module.Job._save

    def counted_read(self, reference):
        with lock:
            there[0] += 1
            most[0] = max(most[0], there[0])
        return read(self, reference)

    def counted_save(self, found):
        outcome = save(self, found)
        with lock:
            there[0] -= 1
        return outcome

    monkeypatch.setattr(ImageWorker, "_read", counted_read)
    monkeypatch.setattr(worker_module.Job, "_save", counted_save)
    ImageWorker(work, model).run(references)
    assert len(references) == 80
    assert there == [0]
    assert most[0] <= 16
