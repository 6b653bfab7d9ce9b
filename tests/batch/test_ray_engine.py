"""Ray Data on a cluster of several processes of this machine."""

import json
import os
import signal

import numpy as np
import pytest

pytest.importorskip("ray.data", reason='Ray is not installed: pip install "catseg[ray]"')

import catseg
from catseg.batch import segment_dataset
from tests.batch.moody import moody_model, worked_on, write_images
from tests.batch.test_local_engine import IN_FLIGHT, command, results, rows, wait_for
from tests.tiny import tiny_config

pytestmark = pytest.mark.slow

FAULT_IMAGES = int(os.environ.get("CATSEG_FAULT_IMAGES", "60"))  # of the run that is disturbed; 2000 take minutes


def test_the_same_labels_bit_for_bit(ray_cluster, tmp_path):
    """With a real network of random weights, which only their bytes bring from this process to the workers."""
    photos = write_images(tmp_path / "photos", 24, size=(48, 64))
    (photos / "0007.png").write_text("no image")
    (tmp_path / "tiny.yaml").write_text(tiny_config(tmp_path, DATASETS__TEST=()).dump())
    model = catseg.load(tmp_path / "tiny.yaml", device="cpu")
    options = {"model": model, "threshold": 0, "save": ("labels", "scores")}
    done = segment_dataset(photos, "sofa, cat", tmp_path / "ray", engine="ray", workers=2, **options)
    assert (done.done, done.failed) == (23, 1)
    plain = segment_dataset(photos, "sofa, cat", tmp_path / "local", workers=1, **options)
    assert (plain.done, plain.failed) == (23, 1)
    assert done.errors == plain.errors == {str(photos / "0007.png"): "is no image of a kind that can be read"}
    labels = {f"{index:04d}_labels.png" for index in range(24) if index != 7}
    assert {path.name for path in (tmp_path / "ray").glob("*.png")} == labels
    for name in labels:
        by_ray, by_local = tmp_path / "ray" / name, tmp_path / "local" / name
        assert by_ray.read_bytes() == by_local.read_bytes()
        scores = [np.load(path.with_name(name.replace("labels.png", "scores.npz"))) for path in (by_ray, by_local)]
        assert np.array_equal(scores[0]["scores"], scores[1]["scores"])
    here = model.segment(photos / "0003.png", "sofa, cat", threshold=0)
    assert len(np.unique(here.labels)) == 2
    again = segment_dataset(photos, "sofa, cat", tmp_path / "local", engine="ray", workers=1, **options)
    assert (again.done, again.skipped) == (0, 23)


def test_a_killed_worker_a_killing_image_and_a_killed_driver(ray_cluster, tmp_path):
    photos, log, output = write_images(tmp_path / "photos", FAULT_IMAGES), tmp_path / "log", tmp_path / "out"
    (photos / "killer.png").write_bytes((photos / "0000.png").read_bytes())
    words = ("ray", photos, output, log, 0.05)
    with command(*words) as driver:
        wait_for(lambda: log.is_dir() and results(output) > FAULT_IMAGES / 6 and worked_on(log))
        os.kill(next(iter(worked_on(log))), signal.SIGKILL)
        wait_for(lambda: results(output) > FAULT_IMAGES / 2)
        driver.kill()
    assert results(output) < FAULT_IMAGES
    with command(*words) as driver:
        found, errors = driver.communicate(timeout=500)
    assert driver.returncode == 0, errors
    summary = json.loads(found)
    assert summary["done"] + summary["skipped"] == FAULT_IMAGES
    assert "processes ended while they worked on it" in summary["errors"][str(photos / "killer.png")]
    assert len(rows(output)) == FAULT_IMAGES + 1
    assert results(output) == FAULT_IMAGES
    worked = [image for images in worked_on(log).values() for image in images if image != "killer.png"]
    assert FAULT_IMAGES <= len(worked) <= FAULT_IMAGES + 5 * IN_FLIGHT


def test_an_error_of_a_worker_is_told_as_it_is(ray_cluster, tmp_path):
    photos = write_images(tmp_path / "photos", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/0000_shares.json").mkdir()  # which no record replaces
    model = moody_model(tmp_path / "log")
    found = segment_dataset(photos, "sofa, cat", tmp_path / "out", model=model, engine="ray")
    assert (found.done, found.failed) == (1, 1)
    [reason] = found.errors.values()
    assert "directory" in reason
