"""Processes of this machine: those that are killed, and runs that are."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason='pyarrow is not installed: pip install "catseg[batch]"')

import pyarrow.parquet as pq
from PIL import Image

from catseg.batch import segment_dataset
from catseg.segmenting.inputs import find_images
from catseg.segmenting.job import Job
from catseg.segmenting.results import ResultFolder
from catseg.vocabulary import load_vocabulary
from tests.batch import moody
from tests.batch.moody import moody_model, worked_on, write_images

ROOT = Path(__file__).parents[2]
IN_FLIGHT = 8  # images of a worker that are segmented, but not yet written, at most


def rows(output):
    return {Path(row["input"]).name: row for row in pq.read_table(output / "manifest.parquet").to_pylist()}


def wait_for(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def results(output):
    return len(list(output.rglob("*_shares.json")))


def command(*words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, moody.__file__, *map(str, words)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_processes_and_what_catseg_segment_did_before(tmp_path):
    photos = write_images(tmp_path / "photos", 12)
    (photos / "bad.png").write_text("no image")
    model, output = moody_model(tmp_path / "log"), tmp_path / "out"
    images = find_images([str(photos)], output, recursive=True)[0]
    folder = ResultFolder(output, images[:3], ("labels", "shares"), "png")
    options = {"threshold": 0.5, "background": None, "batch": 1, "threads": 2, "keep_probabilities": False}
    Job(model, load_vocabulary("sofa, cat"), folder, options=options).run(images[:3], about={})
    done = segment_dataset(photos, "sofa, cat", output, model=model, workers=2)
    assert (done.done, done.skipped, done.failed) == (12, 0, 1)
    processes = worked_on(tmp_path / "log")
    assert os.getpid() in processes
    assert len(processes[os.getpid()]) == 3
    assert sum(map(len, processes.values())) == 12
    again = segment_dataset(photos, "sofa, cat", output, model=model, workers=1)
    assert (again.done, again.skipped, again.failed) == (0, 12, 1)
    labels = [np.asarray(Image.open(output / f"{image.name}_labels.png")) for image in images[:12]]
    plain = model.segment([image.path for image in images[:12]], "sofa, cat")
    assert all(np.array_equal(one, result.labels) for one, result in zip(labels, plain, strict=True))
    assert rows(output)["0000.png"]["outputs"] == [("labels", "0000_labels.png")]


@pytest.mark.slow
def test_an_image_that_kills_workers_and_a_killed_run(tmp_path):
    photos, log, output = write_images(tmp_path / "photos", 60), tmp_path / "log", tmp_path / "out"
    (photos / "killer.png").write_bytes((photos / "0000.png").read_bytes())
    words = ("local", photos, output, log, 0.05)
    with command(*words) as run:
        wait_for(lambda: results(output) > 30)
        run.kill()
    before = results(output)
    assert before < 60
    with command(*words) as run:
        found, errors = run.communicate(timeout=500)
    assert run.returncode == 0, errors
    summary = json.loads(found)
    assert summary["done"] + summary["skipped"] == 60
    assert "processes ended while they worked on it" in summary["errors"][str(photos / "killer.png")]
    manifest = rows(output)
    assert len(manifest) == 61
    assert pq.read_table(output / "manifest.parquet").num_rows == 61
    assert results(output) == 60
    worked = [image for images in worked_on(log).values() for image in images if image != "killer.png"]
    deaths = 2 + 2 * 2  # of two workers with their run, and in each run, of those of the killing image
    assert 60 <= len(worked) <= 60 + deaths * IN_FLIGHT
    assert not list((output / ".catseg/attempts").iterdir())


def test_wrong_use(tmp_path):
    photos = write_images(tmp_path / "photos", 1)
    model = moody_model(tmp_path / "log")
    for options, message in (
        ({"engine": "spark"}, "no engine is called 'spark': there are local, ray"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"threshold": 2}, "threshold is a probability"),
    ):
        with pytest.raises(ValueError, match=message):
            segment_dataset(photos, "sofa, cat", tmp_path / "out", model=model, **options)
    assert not (tmp_path / "out").exists()


def test_what_is_to_be_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RuntimeError, match=r'^--engine ray needs ray: pip install "catseg\[ray\]"$'):
        segment_dataset(tmp_path, "sofa, cat", tmp_path / "out", engine="ray")
