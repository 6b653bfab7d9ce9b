import contextlib
import json
import logging
import os
from types import SimpleNamespace

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from catseg.checkpoint.checkpointer import Checkpointer
from catseg.engine.hooks import CheckpointHook, EarlyEnd, EvaluationHook, build_checkpoint_hook
from tests.tiny import tiny_config


class Run:
    """Plays a training run of ten steps, whose weight is the step and whose evaluations give the listed values."""

    def __init__(self, folder, values, period=3, metric="sem_seg/mIoU", datasets=("first",), patience=0):
        self.model = nn.Linear(1, 1)
        self.values = iter(values)
        self.datasets = datasets
        self.evaluated = []
        self.storage = EventStorage()
        self.trainer = SimpleNamespace(iter=0, max_iter=10, storage=self.storage)
        checkpointer = Checkpointer(self.model, str(folder))
        self.hook = EvaluationHook(
            evaluate=self.evaluate,
            period=period,
            best_metric=metric,
            checkpointer=checkpointer,
            patience=patience,
        )
        self.hook.trainer = self.trainer

    def evaluate(self):
        self.evaluated.append(self.trainer.iter)
        value = next(self.values)
        return {name: {"sem_seg": {"mIoU": value + place, "IoU-cat": 0.0}} for place, name in enumerate(self.datasets)}

    def play(self, first=0, stop=10):
        with contextlib.suppress(EarlyEnd):
            for self.trainer.iter in range(first, stop):
                nn.init.constant_(self.model.weight, self.trainer.iter)
                self.hook.after_step()
            if stop == self.trainer.max_iter:
                self.trainer.iter = stop
        self.hook.after_train()
        return self


def best(folder):
    weights = torch.load(folder / "model_best.pth", weights_only=True)
    record = json.loads((folder / "model_best.json").read_text())
    assert weights["model"]["weight"].item() == weights["iteration"] == record["iteration"]
    return record["iteration"], record["value"]


def test_evaluation_comes_at_its_period_and_at_the_end(tmp_path):
    assert Run(tmp_path, [1, 2, 3, 4]).play().evaluated == [2, 5, 8, 10]
    assert Run(tmp_path, [1], period=0).play().evaluated == [10]
    assert Run(tmp_path, [1, 2], period=5).play().evaluated == [4, 10]


@pytest.mark.parametrize(
    ("values", "patience", "evaluated"),
    [
        ([1, 2, 2, 1, 9], 2, [1, 3, 5, 7]),  # steps 4 gave the best
        ([2, 1, 1, 1, 9], 2, [1, 3, 5]),
        ([2, 1, 3, 1, 9], 2, [1, 3, 5, 7, 10]),
        ([2, 1, 1, 1, 9], 0, [1, 3, 5, 7, 10]),
    ],
)
def test_training_ends_when_it_gets_no_better(tmp_path, values, patience, evaluated):
    run = Run(tmp_path, values, period=2, patience=patience).play()
    assert run.evaluated == evaluated
    assert (tmp_path / "model_final.pth").is_file() == (evaluated[-1] != 10)
    assert run.trainer.iter == run.trainer.max_iter


def test_patience_counts_over_a_resumption(tmp_path):
    Run(tmp_path, [2, 1], period=2, patience=3).play(stop=5)
    assert Run(tmp_path, [1, 1, 1], period=2, patience=3).play(first=5).evaluated == [5, 7]


def test_metrics_without_a_value_are_not_logged(tmp_path):
    run = Run(tmp_path, [float("nan"), 2.0], period=5).play()
    assert run.storage.history("sem_seg/mIoU").values() == [(2.0, 0)]


def test_a_run_that_is_broken_off_is_not_evaluated_at_the_end(tmp_path):
    assert Run(tmp_path, [1, 2]).play(stop=5).evaluated == [2]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5.0, 9.0, 7.0, 8.0], (5, 9.0)),
        ([5.0, 5.0, 4.0, 5.0], (2, 5.0)),
        ([float("nan"), 1.0, float("nan"), 0.5], (5, 1.0)),
        ([1.0, 2.0, 3.0, 4.0], (9, 4.0)),
    ],
)
def test_the_best_weights_are_kept(tmp_path, values, expected):
    Run(tmp_path, values).play()
    assert best(tmp_path) == expected


def test_a_resumed_run_compares_with_the_best_of_the_first(tmp_path):
    Run(tmp_path, [5.0, 9.0]).play(stop=7)
    Run(tmp_path, [8.0, 8.5]).play(first=7)
    assert best(tmp_path) == (5, 9.0)


def test_the_record_of_weights_that_are_gone_does_not_count(tmp_path):
    Run(tmp_path, [9.0]).play(stop=4)
    (tmp_path / "model_best.pth").unlink()
    Run(tmp_path, [5.0, 4.0]).play(first=7)
    assert best(tmp_path) == (8, 5.0)


def test_another_metric_begins_anew(tmp_path):
    Run(tmp_path, [5.0, 9.0]).play(stop=7)
    Run(tmp_path, [1.0, 0.5], metric="second/sem_seg/mIoU", datasets=("first", "second")).play(first=7)
    assert best(tmp_path) == (8, 2.0)


def test_overall_metrics_are_logged_under_the_data_set_if_there_are_several(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert set(Run(tmp_path, [1.0] * 4).play().storage.latest()) == {"sem_seg/mIoU"}
    assert "the best so far: saved as model_best.pth" in caplog.text
    several = Run(tmp_path, [1.0] * 4, datasets=("first", "second")).play()
    assert set(several.storage.latest()) == {"first/sem_seg/mIoU", "second/sem_seg/mIoU"}


def test_the_newest_checkpoints_by_age_are_kept(tmp_path):
    """Also where fewer are kept than before, and where the run was taken back to an earlier checkpoint."""
    for age, name in enumerate(["model_0000009", "model_0000008", "model_0000003", "model_final", "model_best"]):
        path = tmp_path / f"{name}.pth"
        path.touch()
        os.utime(path, ns=(10**9 * (100 - age),) * 2)
    hook = CheckpointHook(Checkpointer(nn.Linear(1, 1), str(tmp_path)), period=2, kept=2)
    hook.trainer = SimpleNamespace(iter=0, max_iter=10)
    hook.before_train()
    for hook.trainer.iter in (4, 5, 6):
        hook.after_step()
    names = {path.stem for path in tmp_path.glob("*.pth")}
    assert names == {"model_0000009", "model_0000005", "model_final", "model_best"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SOLVER__CHECKPOINT_PERIOD", 0, r"SOLVER\.CHECKPOINT_PERIOD is 0, expected a number of at least 1"),
        ("SOLVER__CHECKPOINTS_KEPT", -1, r"SOLVER\.CHECKPOINTS_KEPT is -1, expected a number of at least 0"),
    ],
)
def test_checkpoints_that_cannot_be_are_an_error(tmp_path, key, value, message):
    with pytest.raises(ValueError, match=message):
        build_checkpoint_hook(tiny_config(tmp_path, **{key: value}), None)
