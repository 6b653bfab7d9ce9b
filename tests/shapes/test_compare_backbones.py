"""Every family of backbones on the generated data."""

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from catseg.config import load_config
from catseg.modeling import backbones
from catseg.shapes import compare_backbones, run
from catseg.shapes.compare_backbones import BackboneJob, backbone_options, compare, parse_arguments, plan_jobs
from catseg.shapes.contrastive import Schedule
from catseg.shapes.generate import generate_shapes
from catseg.shapes.pretrain_clip import Pretraining
from catseg.shapes.run import read_outcome, run_job

COUNTS = {"train": 8, "seen_test": 5, "unseen_test": 5}


def run_here(jobs: list[BackboneJob]) -> list[dict]:
    for job in jobs:
        run_job(job)
    return [read_outcome(job) for job in jobs]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(compare_backbones, "PRETRAINING", Pretraining(min_accuracy=0.0, schedule=Schedule(steps=2)))
    monkeypatch.setattr(compare_backbones, "TRAINING_STEPS", 21)  # times are written every 20 steps
    monkeypatch.setattr(compare_backbones, "generate_shapes", partial(generate_shapes, counts=COUNTS))
    monkeypatch.setattr(compare_backbones, "run_jobs", run_here)
    monkeypatch.setenv("DETECTRON2_DATASETS", os.environ["DETECTRON2_DATASETS"])  # is put back after the test
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def test_every_family_is_there_once() -> None:
    chosen = [options.get("MODEL.BACKBONE.NAME", "D2SwinTransformer") for options in backbone_options().values()]
    assert sorted(chosen) == sorted([*backbones.__all__, "build_resnet_backbone"])


def test_runs_differ_in_the_backbone_alone(tmp_path: Path) -> None:
    jobs = plan_jobs(parse_arguments(["--output", str(tmp_path)]))
    assert len({job.clip_folder for job in jobs}) == 1
    assert len({job.run_folder for job in jobs}) == len(jobs)
    first, *others = [load_config(job.config_file, job.options) for job in jobs]
    for cfg in others:
        assert cfg.MODEL.SEM_SEG_HEAD == first.MODEL.SEM_SEG_HEAD
        assert cfg.SOLVER == first.SOLVER
        assert cfg.MODEL.BACKBONE.FREEZE_AT == 0


def test_table_plot_and_what_a_second_run_reuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--output", str(tmp_path), "--backbones", "Swin-shapes", "timm-pvt_v2_b0"]
    status = compare(parse_arguments(words))
    printed = capsys.readouterr().out
    assert status == (1 if "FAILED" in printed else 0)
    report = json.loads((tmp_path / "backbones.json").read_text())
    swin, timm = report["results"]
    assert (swin["name"], timm["name"]) == ("Swin-shapes", "timm-pvt_v2_b0")
    assert 0 < swin["parameters"] < timm["parameters"] < 3.7
    assert swin["seconds"] > 0
    text = (tmp_path / "backbones.md").read_text()
    assert "compare_backbones --output" in text
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")] == [
        "guidance", "none: raw cost volume", "Swin-shapes", "timm-pvt_v2_b0",
    ]  # fmt: skip
    with Image.open(tmp_path / "backbones.png") as plot:
        assert min(plot.size) > 200

    monkeypatch.setattr(run, "Trainer", None)  # a training would fail
    compare(parse_arguments([*words[:3], "timm-pvt_v2_b0"]))
    again = json.loads((tmp_path / "backbones.json").read_text())
    assert again["results"] == [timm]


def test_unknown_backbones_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--backbones", "AlexNet"])
    assert "AlexNet" in capsys.readouterr().err
