import json
from types import SimpleNamespace

import pytest

from catseg.engine import report
from catseg.engine.evaluate import evaluate
from catseg.engine.report import ReportHook, read_metrics, write_training_report
from catseg.engine.run_facts import command_line
from catseg.engine.trainer import Trainer
from tests.pages.html import Page


def run(cfg, resume=False):
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def test_a_training_leaves_a_report_that_needs_no_other_file(toy_config, tmp_path):
    trainer = run(toy_config(TEST__EVAL_PERIOD=2))
    folder = tmp_path / "output"
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.needs_other_files == []
    assert not (folder / "eval_report.html").exists()
    assert {"Training: output", "Loss", "mIoU, %", "Learning rate", "toy_test", "grass"} <= set(page.texts)
    assert "SOLVER.MAX_ITER" in page.texts
    assert page.tags.count("img") == 2  # of two images, one is among the best, one among the worst
    miou = trainer._last_eval_results["sem_seg"]["mIoU"]
    assert f"{miou:.2f}" in page.texts
    evaluate(trainer.cfg, trainer._plain_model.eval(), weights="some weights")
    page = Page((folder / "eval_report.html").read_text(encoding="utf-8"))
    assert {"Evaluation: output", "some weights", "toy_test"} <= set(page.texts)
    assert "Loss" not in page.texts


def test_a_report_that_fails_loses_nothing(toy_config, tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr(report, "run_report", fail)
    monkeypatch.setattr(report, "draw_images", fail)
    cfg = toy_config()
    trainer = run(cfg)
    folder = tmp_path / "output"
    assert (folder / "model_final.pth").is_file()
    assert (folder / "results.json").is_file()
    assert not (folder / "report.html").exists()
    assert "report.html could not be written; nothing else is lost: RuntimeError: no ink" in caplog.text
    assert "examples.json could not be written" in caplog.text
    assert evaluate(cfg, trainer._plain_model.eval(), weights="final")["toy_test"]


def test_images_of_an_evaluation_before_are_not_shown(toy_config, tmp_path, monkeypatch):
    trainer = run(toy_config(SOLVER__MAX_ITER=1))
    monkeypatch.setattr(report, "draw_images", lambda *_, **__: 1 / 0)
    evaluate(trainer.cfg, trainer._plain_model.eval(), weights="final")
    assert "img" not in Page((tmp_path / "output" / "eval_report.html").read_text(encoding="utf-8")).tags


def test_a_training_without_test_sets_has_a_report(toy_config, tmp_path):
    run(toy_config(DATASETS__TEST=(), SOLVER__MAX_ITER=1))
    page = Page((tmp_path / "output" / "report.html").read_text(encoding="utf-8"))
    assert "Nothing was evaluated: DATASETS.TEST is empty." in page.texts


def test_a_training_that_is_broken_off_has_none(toy_config, tmp_path):
    hook = ReportHook(toy_config(DATASETS__TEST=()))
    hook.trainer = SimpleNamespace(iter=2, start_iter=0, max_iter=4)
    hook.before_train()
    hook.after_train()
    assert not (tmp_path / "output" / "report.html").exists()


def test_a_resumed_training_says_so(toy_config, tmp_path):
    write_training_report(toy_config(DATASETS__TEST=()), steps=(150, 300), seconds=61.2)
    page = Page((tmp_path / "output" / "report.html").read_text(encoding="utf-8"))
    assert "0:01:01, from iteration 150 to 300 after a resume" in page.texts


def test_metrics_of_a_run_that_was_taken_back(tmp_path):
    lines = [
        {"iteration": 19, "total_loss": 3.0},
        {"iteration": 39, "total_loss": 2.0},
        {"iteration": 59, "total_loss": 1.0},
        {"iteration": 300, "sem_seg/mIoU": 7.0},  # lines of one moment come in any order
        {"iteration": 39, "total_loss": 2.5, "lr": float("nan")},
    ]
    path = tmp_path / "metrics.json"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"iteration": 59, "total')
    assert read_metrics(path) == {"total_loss": [(19, 3.0), (39, 2.5)], "sem_seg/mIoU": [(300, 7.0)], "lr": []}
    assert read_metrics(tmp_path / "none.json") == {}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train_net.py", "OUTPUT_DIR", "a b"], "python train_net.py OUTPUT_DIR 'a b'"),
        (["/usr/bin/catseg", "train"], "catseg train"),
        ([report.__file__.replace("report.py", "setup.py"), "-x"], "python -m catseg.engine.setup -x"),
        ([report.__file__.replace("engine/report.py", "parity/__main__.py")], "python -m catseg.parity"),
    ],
)
def test_the_command_can_be_given_again(monkeypatch, words, expected):
    monkeypatch.setenv("DETECTRON2_DATASETS", "/my data")
    monkeypatch.delenv("CATSEG_CACHE", raising=False)
    monkeypatch.setattr("sys.argv", words)
    assert command_line() == f"DETECTRON2_DATASETS='/my data' {expected}"
