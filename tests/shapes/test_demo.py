import json
import os
import signal
from dataclasses import replace
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catseg.shapes import demo
from catseg.shapes import run as shapes_run
from catseg.shapes.contrastive import Schedule
from catseg.shapes.demo import parse_arguments, plan_jobs
from catseg.shapes.generate import generate_shapes
from catseg.shapes.pretrain_clip import Pretraining
from catseg.shapes.report import UNSEEN_TEST, Row
from catseg.shapes.run import read_outcome, run_job

COUNTS = {"train": 8, "seen_test": 5, "unseen_test": 5}


def run_here(jobs):
    for job in jobs:
        run_job(job)
    return [read_outcome(job) for job in jobs]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(demo, "SHORT_PRETRAINING", Pretraining(min_accuracy=0.0, schedule=Schedule(steps=2)))
    monkeypatch.setattr(demo, "SHORT_TRAINING_STEPS", 2)
    monkeypatch.setattr(demo, "generate_shapes", partial(generate_shapes, counts=COUNTS))
    monkeypatch.setattr(demo, "run_jobs", run_here)
    monkeypatch.setenv("DETECTRON2_DATASETS", os.environ["DETECTRON2_DATASETS"])  # is put back after the test
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def run(output, *words):
    return demo.demo(parse_arguments(["--output", str(output), "--short", *words]))


def test_whole_chain_and_what_a_second_run_reuses(tmp_path, capsys, monkeypatch):
    status = run(tmp_path)
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "results.json").read_text())
    never_seen = {row["kind"]: row["mIoU"]["never seen"][0] for row in report["rows"]}
    assert status == (0 if never_seen["catseg"] > never_seen["raw"] else 1)
    assert ("FAILED" in printed) == bool(status)
    assert (tmp_path / "results.md").read_text().count("CAT-Seg") > 2
    labels = sorted((tmp_path / "runs" / "short" / "evaluation" / UNSEEN_TEST / "labels").iterdir())
    assert len(labels) == COUNTS["unseen_test"]
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert min(sheet.size) > 400
        assert np.asarray(sheet.convert("L")).std() > 10
    assert not list(tmp_path.rglob("*.partial*"))

    weights = tmp_path / "runs" / "short" / "model_final.pth"
    made = weights.stat().st_mtime_ns
    monkeypatch.setattr(shapes_run, "Trainer", None)
    run(tmp_path)
    assert weights.stat().st_mtime_ns == made
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["runs"] == report["runs"]


def test_other_options_train_again_on_the_same_clip(tmp_path):
    run(tmp_path)
    clip = tmp_path / "clip" / "short" / "clip.safetensors"
    made = clip.stat().st_mtime_ns
    run(tmp_path, "--opts", "SOLVER.BASE_LR", "0.001")
    assert clip.stat().st_mtime_ns == made
    assert "BASE_LR: 0.001" in (tmp_path / "runs" / "short" / "config.yaml").read_text()


def test_two_jobs_for_each_seed():
    jobs = plan_jobs(parse_arguments(["--seeds", "0", "3", "--scale", "2", "--opts", "SOLVER.BASE_LR", "0.1"]))
    assert [job.name for job in jobs] == ["default-seed0-x2", "strict-seed0-x2", "default-seed3-x2", "strict-seed3-x2"]
    assert [job.pretraining.strict for job in jobs] == [False, True] * 2
    assert [job.pretraining.seed for job in jobs] == [0, 0, 3, 3]
    assert {job.pretraining.schedule.steps for job in jobs} == {2 * Schedule().steps}
    assert {job.options for job in jobs} == {("SOLVER.MAX_ITER", "600", "SOLVER.BASE_LR", "0.1")}


def test_jobs_run_in_processes_of_their_own(tmp_path, monkeypatch, capfd):
    monkeypatch.undo()
    job = plan_jobs(parse_arguments(["--output", str(tmp_path), "--short"]))[0]
    short = Schedule(steps=1, batch_size=4)
    impossible = replace(job, pretraining=Pretraining(min_accuracy=2.0, schedule=short))
    others = [replace(impossible, name=f"other-{number}") for number in range(3)]
    with pytest.raises(RuntimeError, match=r"the run (short|other-\d) ended with status 1"):
        demo.run_jobs([impossible, *others])
    assert "at least 2.00 are wanted" in capfd.readouterr().err
    assert not active_children()


@pytest.mark.parametrize("words", [["--scale", "0"], ["--seeds", "1", "1"]])
def test_impossible_arguments_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(words)
    assert "--scale must be positive, and --seeds differ" in capsys.readouterr().err


def test_raw_must_be_beaten_by_its_own_kind():
    def row(kind, strict, value):
        return Row(kind, strict, kind, {"never seen": [value]})

    rows = [row("raw", False, 30.0), row("catseg", False, 40.0), row("raw", True, 50.0), row("catseg", True, 45.0)]
    assert [demo._beats_raw(rows[index], rows) for index in (1, 3)] == [True, False]


def test_broken_off_command_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "demo", interrupted)
    monkeypatch.setattr("sys.argv", ["demo"])
    with pytest.raises(SystemExit) as exit_:
        demo.main()
    assert exit_.value.code == 130
    assert "goes on" in capsys.readouterr().err


def test_errors_are_told_without_a_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["demo", "--output", str(tmp_path), "--short", "--config-file", "none.yaml"])
    with pytest.raises(SystemExit, match=r"catseg.shapes.demo: .*none\.yaml"):
        demo.main()
    assert Path(tmp_path).is_dir()
