"""The demo as users run it, with a tiny network in place of a large one but for the last test."""

import errno
import json
import logging
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catseg import inference
from catseg.modeling.meta_arch import CATSeg
from catseg.segmenting import job
from demo import demo
from tests.demo.conftest import REPOSITORY
from tests.tiny import tiny_model

CLASSES = "sky | heaven, building, rocket, 猫"
NAMES = ["sky, heaven", "building", "rocket", "猫"]


@pytest.fixture
def photos(tmp_path, photographs):
    """A folder with photographs, two of which would have results of one name, and a subfolder."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    camera, rocket, chelsea, china = photographs
    for path, name in ((camera, "a.png"), (rocket, "a.jpg"), (chelsea, "cat.png"), (china, "trip/china.jpg")):
        shutil.copy(path, folder / name)
    return folder


def test_a_folder_of_photographs(photos, config_file, tmp_path, run_demo):
    (photos / "damaged.jpg").write_bytes((photos / "a.jpg").read_bytes()[:3000])
    out = tmp_path / "out"
    process = run_demo(
        *("--config-file", config_file, "--input", photos, "--output", out, "--recursive", "--classes", CLASSES),
        *("--side-by-side", "--scores"),
    )
    assert process.returncode == 1
    assert process.stdout == ""
    assert "Traceback" not in process.stderr
    assert "results are random" in process.stderr
    assert "4 of 5 images are done" in process.stderr
    assert "damaged.jpg: cannot be decoded" in process.stderr

    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["classes"] == NAMES
    assert summary["trained"] is False
    assert [record["name"] for record in summary["pictures"]] == ["a.jpg", "a.png", "cat.png", "trip/china.jpg"]
    assert list(summary["failed"]) == [str(photos / "damaged.jpg")]
    for record, key in zip(summary["pictures"], ("a.jpg", "a.png", "cat", "trip/china"), strict=True):
        with Image.open(photos / record["name"]) as photograph:
            size = photograph.size
        labels = np.asarray(Image.open(out / f"{key}_labels.png"))
        assert labels.shape == (record["height"], record["width"]) == size[::-1]
        assert labels.max() < 4
        for index, name in enumerate(NAMES):
            assert record["classes"].get(name, 0) == pytest.approx((labels == index).mean())
        with np.load(out / f"{key}_scores.npz") as stored:
            assert stored["names"].tolist() == NAMES
            chosen = np.take_along_axis(stored["scores"], labels[None].astype(int), axis=0)[0]
            np.testing.assert_allclose(chosen, stored["scores"].max(axis=0))
        for kind in ("overlay", "side_by_side", "confidence", "class_scores"):
            with Image.open(out / f"{key}_{kind}.png") as drawing:
                assert drawing.mode == "RGB"
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "trip/china_overlay.png" in page
    assert not list(out.rglob(".*"))


def test_the_classes_of_the_test_set_and_jpeg(photos, config_file, tmp_path, run_demo):
    process = run_demo(
        *("--config-file", config_file, "--input", photos / "c*.png", "--output", tmp_path / "out", "--format", "jpg"),
        *("--opts", "TEST.SLIDING_WINDOW", "False"),
    )
    assert process.returncode == 0, process.stderr
    with Image.open(tmp_path / "out" / "cat_overlay.jpg") as drawing:
        assert drawing.format == "JPEG"
    assert len(json.loads((tmp_path / "out" / "summary.json").read_text())["classes"]) == 150


def test_interrupted(photos, config_file, tmp_path):
    """Ctrl-C while images are done: status 130, no half-written file, and a run that goes on."""
    for index in range(300):
        shutil.copy(photos / "cat.png", photos / f"copy{index:03d}.png")
    out = tmp_path / "out"
    command = [sys.executable, REPOSITORY / "demo" / "demo.py", "--config-file", config_file, "--input", photos]
    command += ["--output", out, "--classes", "cat, dog"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        deadline = time.monotonic() + 120
        while not list(out.glob("copy*_shares.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert "interrupted" in message
    assert "--skip-existing goes on" in message
    assert "Traceback" not in message
    assert not list(out.glob(".*"))
    for path in out.glob("*.png"):
        with Image.open(path) as drawing:
            drawing.load()


# What follows runs in this process, which saves the seconds of starting Python.


@pytest.fixture
def call(config_file, tmp_path):
    def call(*words, output="out"):
        logging.getLogger("demo").propagate = True
        fixed = ["--config-file", config_file, "--output", tmp_path / output]
        return demo.main([str(word) for word in (*fixed, *words)])

    return call


def test_skip_existing(call, photos, tmp_path):
    arguments = ("--input", photos, "--classes", "cat, dog")
    assert call(*arguments) == 0
    changed = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.*")}

    def rewritten():
        return sorted({p.name.split("_")[0] for p, t in changed.items() if p.stat().st_mtime_ns != t and "_" in p.name})

    assert call(*arguments, "--skip-existing") == 0
    assert rewritten() == []
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [record["name"] for record in summary["pictures"]] == ["a.jpg", "a.png", "cat.png"]
    (tmp_path / "out" / "cat_overlay.png").unlink()
    assert call(*arguments, "--skip-existing") == 0
    assert rewritten() == ["cat"]
    assert call("--input", photos, "--classes", "cat, horse", "--skip-existing") == 0
    assert rewritten() == ["a.jpg", "a.png", "cat"]


def test_a_failure_in_one_image(call, photos, tmp_path, monkeypatch, caplog):
    label_image = CATSeg.label_image

    def out_of_memory(self, logits):
        if logits.output_size == (512, 512):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return label_image(self, logits)

    monkeypatch.setattr(CATSeg, "label_image", out_of_memory)
    assert call("--input", photos, "--classes", "cat, dog") == 1
    assert "a.png: OutOfMemoryError: CUDA out of memory" in caplog.text
    assert (tmp_path / "out" / "cat_overlay.png").is_file()
    assert not (tmp_path / "out" / "a.png_overlay.png").exists()


def test_weights_that_are_no_numbers_give_no_results(call, photos, tmp_path):
    weights = tiny_model(tmp_path).state_dict()
    weights["sem_seg_head.aggregator.decoder.head.weight"].fill_(torch.nan)
    torch.save({"model": weights}, tmp_path / "model.pth")
    words = ["--input", photos, "--classes", "cat, dog", "--opts", "MODEL.WEIGHTS", tmp_path / "model.pth"]
    assert call(*words) == 1
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["pictures"] == []
    assert len(summary["failed"]) == 3
    assert all(reason.startswith("the scores are not numbers: ") for reason in summary["failed"].values())


def test_what_no_image_could_do_is_said_once(call, photos, tmp_path, caplog):
    assert call("--input", photos, "--classes", f"cat, {'long ' * 30}") == 2
    assert len(caplog.records) == 1 or "more tokens" in caplog.records[-1].message
    assert caplog.text.count("has more tokens") == 1
    assert not (tmp_path / "out" / "summary.json").exists()
    caplog.clear()
    assert call("--input", photos, "--classes", "cat", "--opts", "MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION", "[0, 8]") == 2
    assert caplog.text.count("FEATURE_RESOLUTION is [0, 8]") == 1


def test_notes_about_the_config_are_logged_once(photos, tmp_path, monkeypatch, caplog):
    def no_model(*_, **__):
        raise FileNotFoundError("no model")

    monkeypatch.setattr("catseg.inference.build_model", no_model)
    head = "SEM_SEG_HEAD: {NAME: CATSegHead}"
    content = f"MODEL: {{META_ARCHITECTURE: CATSeg, PROMPT_ENSEMBLE_TYPE: single, {head}}}\nINPUT: {{FORMAT: RGB}}\n"
    (tmp_path / "theirs.yaml").write_text(content)
    words = ["--config-file", tmp_path / "theirs.yaml", "--input", photos, "--output", tmp_path / "out"]
    assert demo.main(list(map(str, words))) == 2
    assert caplog.text.count("MODEL.PROMPT_ENSEMBLE_TYPE 'single' -> MODEL.CLIP.TEMPLATES 'single'") == 1


def test_a_fault_keeps_its_traceback(call, photos, monkeypatch, caplog):
    monkeypatch.setattr(CATSeg, "label_image", lambda *_: {}["fault"])
    assert call("--input", photos / "cat.png", "--classes", "cat, dog") == 1
    assert "Traceback" in caplog.text
    assert "KeyError: 'fault'" in caplog.text
    monkeypatch.setattr(inference, "model_from_config", lambda *_, **__: {}["fault"])
    with pytest.raises(KeyError):
        call("--input", photos / "cat.png")


def test_a_full_disk_stops_the_run(call, photos, tmp_path, monkeypatch, caplog):
    write = Path.write_bytes

    def full(self, data):
        if not self.name.lstrip(".").startswith("a.jpg"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert call("--input", photos, "--classes", "cat, dog") == 1
    # Several threads write: whether the first image is done before another one fails is chance.
    assert re.search(r"cannot write results: \[Errno 28\] No space left on device; [01] of 3 images", caplog.text)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written <= {"a.jpg_labels.png", "a.jpg_overlay.png", "a.jpg_shares.json"}


def test_a_file_name_that_is_no_unicode(call, photos, tmp_path):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    try:
        shutil.copy(photos / "cat.png", tmp_path / name)
    except OSError:
        pytest.skip("this file system takes Unicode names alone")
    assert call("--input", tmp_path / name, "--classes", "cat, dog") == 0
    [record] = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["pictures"]
    assert record["name"] == name
    assert (tmp_path / "out" / record["files"]["overlay"]).is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "missing"], "no file or folder missing"),
        (["--input", "empty"], "no images"),
        (["--input", "a.jpg", "--classes", "cat, cat"], "repeats the class"),
        (["--input", "a.jpg", "--classes", "missing.json"], "no vocabulary file missing.json"),
        (["--input", "a.jpg", "--opts", "MODEL.WEIGHTS"], "KEY VALUE pairs"),
        (["--input", "a.jpg", "--opts", "MODEL.WIEGHTS", "x"], "WIEGHTS"),
        (["--input", "a.jpg", "--opts", "MODEL.WEIGHTS", "missing.pth"], "missing.pth, which is not a file"),
        (["--input", "a.jpg", "--opts", "model.weights", "x"], "did you mean MODEL.WEIGHTS"),
        (["--input", "a.jpg", "--config-file", "empty.yaml"], "empty.yaml"),
        (["--input", "a.jpg", "--config-file", "broken.yaml"], "broken.yaml"),
        (["--input", "a.jpg", "--config-file", "loop.yaml"], "loop.yaml"),
        (["--input", "a.jpg", "--config-file", "untrained.yaml"], "needs trained weights: give them by --opts MODEL."),
        (["--input", "a.jpg", "--opts", "DATASETS.TEST", "()"], "give --classes"),
    ],
)
def test_wrong_use(call, photos, config_file, monkeypatch, caplog, words, message):
    (photos / "empty").mkdir()
    (photos / "empty.yaml").touch()
    (photos / "broken.yaml").write_text("MODEL: [")
    (photos / "loop.yaml").write_text("_BASE_: loop.yaml")
    (photos / "untrained.yaml").write_text(
        config_file.read_text().replace("\n  WEIGHTS: ''", "\n  WEIGHTS: nowhere://backbone.pth")
    )
    monkeypatch.chdir(photos)
    assert call(*words) == 2
    assert message in caplog.text


def test_output_that_cannot_be_made(call, photos, tmp_path, caplog):
    (tmp_path / "file").touch()
    assert call("--input", photos, output="file") == 2
    assert str(tmp_path / "file") in caplog.text


def test_wrong_arguments_and_help(capsys):
    with pytest.raises(SystemExit) as left:
        demo.main(["--input", "a.jpg"])
    assert left.value.code == 2
    with pytest.raises(SystemExit) as left:
        demo.main(["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "exit status:" in text


def test_interrupted_before_the_first_image(call, photos, monkeypatch, caplog):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "Job", interrupt)
    assert call("--input", photos) == 130
    assert "interrupted before the first image" in caplog.text


@pytest.mark.slow
def test_photographs_through_the_full_size_model(photographs, tmp_path, run_demo):
    """The published L network, with random weights, on all sample photographs; one crop each and few classes."""
    process = run_demo(
        *("--config-file", REPOSITORY / "configs" / "catseg_ade150.yaml", "--input", *photographs),
        *("--output", tmp_path, "--classes", "sky, building, cat"),
        *("--opts", "MODEL.WEIGHTS", "", "MODEL.CLIP.WEIGHTS", "", "TEST.SLIDING_WINDOW", "False"),
    )
    assert process.returncode == 0, process.stderr
    assert "results are random" in process.stderr
    images = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["pictures"]
    assert len(images) == len(photographs)
    for record in images:
        labels = np.asarray(Image.open(tmp_path / record["files"]["labels"]))
        assert labels.shape == (record["height"], record["width"])
        assert 0.05 < record["mean_confidence"] < 0.95
        assert len(np.unique(labels)) > 1
