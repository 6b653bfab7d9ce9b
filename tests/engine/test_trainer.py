import json
import logging
import math
import pickle
from dataclasses import replace

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import DefaultTrainer

from catseg.engine.trainer import Trainer
from catseg.engine.training_step import TrainingStep
from catseg.errors import UserError


def train(cfg, resume=False):
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def leave_checkpoint_of_step(source, target, steps):
    """Make the folder of a run that was broken off after `steps` steps."""
    target.mkdir()
    name = f"model_{steps - 1:07d}.pth"
    (target / name).write_bytes((source / name).read_bytes())
    (target / "last_checkpoint").write_text(name)


def assert_equal(got, expected):
    if isinstance(expected, torch.Tensor):
        assert torch.equal(got, expected)
    elif isinstance(expected, dict):
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            assert_equal(got[key], value)
    elif isinstance(expected, list):
        for one, other in zip(got, expected, strict=True):
            assert_equal(one, other)
    else:
        assert got == expected


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_run_ends_with_the_state_of_an_unbroken_one(toy_config, tmp_path, num_workers):
    options = {
        "DATALOADER__NUM_WORKERS": num_workers,
        "SOLVER__CHECKPOINT_PERIOD": 1,
        "SOLVER__CHECKPOINTS_KEPT": 0,
        "SOLVER__ACCUMULATION_STEPS": 2 if num_workers == 0 else 1,
        "TEST__EVAL_PERIOD": 2,
    }
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train(toy_config(OUTPUT_DIR=str(straight), **options))
    leave_checkpoint_of_step(straight, broken, steps=1)  # an odd number of batches: the two workers change places
    trainer = train(toy_config(OUTPUT_DIR=str(broken), **options, SEED=99), resume=True)
    assert trainer.start_iter == 1
    expected, got = (torch.load(folder / "model_final.pth", weights_only=True) for folder in (straight, broken))
    assert_equal(got, expected)


def test_training_data_reach_workers_that_are_not_forked(toy_config):
    stream = Trainer.build_train_loader(toy_config()).dataset
    copy = pickle.loads(pickle.dumps(stream))
    assert_equal(copy.sample(3), stream.sample(3))


def test_batches_of_images_score_as_single_ones(toy_config):
    one, two = toy_config(), toy_config(TEST__IMS_PER_BATCH=2, TEST__CROPS_PER_CHUNK=7)
    assert [len(batch) for cfg in (one, two) for batch in Trainer.build_test_loader(cfg, "toy_test")] == [1, 1, 2]
    model = Trainer.build_model(one).eval()
    expected = Trainer.test(one, model)
    model.chunk_sizes = replace(model.chunk_sizes, crops=two.TEST.CROPS_PER_CHUNK)
    assert_equal(Trainer.test(two, model), expected)


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("cuda", True)])
def test_images_for_a_gpu_are_pinned(toy_config, device, pinned):
    cfg = toy_config(MODEL__DEVICE=device)
    assert Trainer.build_train_loader(cfg).pin_memory is pinned
    assert Trainer.build_test_loader(cfg, "toy_test").pin_memory is pinned


def test_training_changes_what_is_to_be_trained_and_nothing_else(toy_config):
    cfg = toy_config(SOLVER__BACKBONE_MULTIPLIER=0.0, SOLVER__MAX_ITER=1)
    trainer = Trainer(cfg)
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    changed = {name for name, parameter in trainer.model.named_parameters() if not torch.equal(parameter, before[name])}
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert changed == trained
    assert not any(name.startswith(("backbone.", "clip.transformer.")) for name in changed)
    assert any(name.startswith("clip.visual.") for name in changed)


def test_the_schedule_is_a_cosine_without_warm_up(toy_config, tmp_path):
    trainer = train(toy_config(SOLVER__CHECKPOINT_PERIOD=1, SOLVER__CHECKPOINTS_KEPT=0))
    rates = []
    for path in sorted((tmp_path / "output").glob("model_000*.pth")):
        rates.append(torch.load(path, weights_only=True)["trainer"]["optimizer"]["param_groups"][0]["lr"])
    base = trainer.scheduler.base_lrs[0]
    assert rates == pytest.approx([base * 0.5 * (1 + math.cos(math.pi * step / 4)) for step in (1, 2, 3, 4)])


def test_the_newest_checkpoints_are_kept_beside_the_best_and_the_last(toy_config, tmp_path):
    train(toy_config(SOLVER__CHECKPOINT_PERIOD=1, SOLVER__CHECKPOINTS_KEPT=2, TEST__EVAL_PERIOD=1))
    names = {path.stem for path in (tmp_path / "output").glob("*.pth")}
    assert names == {"model_0000002", "model_0000003", "model_best", "model_final"}


def test_checkpoints_of_the_run_before_a_resume_count_too(toy_config, tmp_path):
    options = {"SOLVER__CHECKPOINT_PERIOD": 1, "SOLVER__CHECKPOINTS_KEPT": 2, "DATASETS__TEST": ()}
    train(toy_config(SOLVER__MAX_ITER=3, **options))
    train(toy_config(SOLVER__MAX_ITER=4, **options), resume=True)
    names = {path.stem for path in (tmp_path / "output").glob("*.pth")}
    assert names == {"model_0000002", "model_0000003", "model_final"}


def test_a_longer_resumed_run_has_the_schedule_of_its_length(toy_config, tmp_path):
    train(toy_config(SOLVER__MAX_ITER=2, DATASETS__TEST=()))
    trainer = Trainer(toy_config(SOLVER__MAX_ITER=4, DATASETS__TEST=()))
    trainer.resume_or_load(resume=True)
    rates = [group["lr"] / group["initial_lr"] for group in trainer.optimizer.param_groups]
    assert rates == pytest.approx([0.5] * len(rates))


def test_a_run_leaves_metrics_results_and_the_best_weights(toy_config, tmp_path):
    train(toy_config(TEST__EVAL_PERIOD=2, TEST__SAVE_PREDICTIONS="both"))
    folder = tmp_path / "output"
    metrics = {}
    for line in (folder / "metrics.json").read_text().splitlines():
        metrics |= json.loads(line)
    assert metrics.keys() >= {"total_loss", "loss_sem_seg", "lr", "data_time", "sem_seg/mIoU", "sem_seg/pACC"}
    assert not [name for name in metrics if "grass" in name]
    assert list(folder.glob("events.out.tfevents.*"))
    report = json.loads((folder / "results.json").read_text())
    assert report["weights"] == "after 4 of 4 iterations"
    assert report["results"]["toy_test"]["sem_seg"].keys() >= {"mIoU", "IoU-grass", "IoU-stone, rock"}
    assert "| toy_test" in (folder / "results.md").read_text()
    best = json.loads((folder / "model_best.json").read_text())
    assert best["metric"] == "sem_seg/mIoU"
    assert best["iteration"] in (1, 3)
    assert torch.load(folder / "model_best.pth", weights_only=True)["iteration"] == best["iteration"]
    for kind, suffix in (("labels", "png"), ("overlays", "jpg")):
        images = sorted((folder / "evaluation" / "toy_test" / kind).iterdir())
        assert [path.name for path in images] == [f"0.{suffix}", f"1.{suffix}"]


def test_each_test_set_is_evaluated_with_its_own_classes(toy_config, monkeypatch):
    MetadataCatalog.get("toy_other").set(stuff_classes=["a", "b", "c", "d"], ignore_label=255)
    DatasetCatalog.register("toy_other", lambda: DatasetCatalog.get("toy_test"))
    try:
        model = Trainer.build_model(toy_config())
        results = Trainer.test(toy_config(DATASETS__TEST=("toy_other", "toy_test")), model.eval())
    finally:
        DatasetCatalog.remove("toy_other")
        MetadataCatalog.remove("toy_other")
    assert "IoU-d" in results["toy_other"]["sem_seg"]
    assert "IoU-grass" in results["toy_test"]["sem_seg"]
    assert model.classes == tuple(MetadataCatalog.get("toy_test").stuff_classes)
    assert not model.training


def test_classes_of_training_and_test_sets_may_go_by_other_names(toy_config, tmp_path, monkeypatch):
    for name in ("train", "test"):
        (tmp_path / f"{name}.json").write_text(json.dumps([f"{name} lawn", f"{name} stone", f"{name} sky"]))
    files = {f"DATASETS__{name.upper()}_CLASSES": str(tmp_path / f"{name}.json") for name in ("train", "test")}
    trainer = Trainer(toy_config(**files))
    monkeypatch.setattr(DefaultTrainer, "train", lambda self: self.test(self.cfg, self.model))
    trained_with = []
    monkeypatch.setattr(trainer.model, "set_train_vocabulary", trained_with.append)
    results = trainer.train()
    assert trained_with == [("train lawn", "train stone", "train sky")]
    assert trainer.model.classes == ("test lawn", "test stone", "test sky")
    assert "IoU-grass" in results["sem_seg"]  # as the data set calls it


def test_evaluation_leaves_the_training_vocabulary_and_mode(toy_config):
    trainer = Trainer(toy_config())
    trainer.model.set_train_vocabulary(["x", "y"])
    Trainer.test(trainer.cfg, trainer.model)
    assert trainer.model.training
    with pytest.raises(ValueError, match="2"):
        trainer.model([trainer.data_loader.dataset.sample(0)])


class StopsInStep:
    """Runs steps, and raises an error instead of the third."""

    def __init__(self, error):
        self.error, self.count, self.run = error, 0, TrainingStep.run

    def __get__(self, step, owner):
        def run():
            self.count += 1
            if self.count == 3:
                raise self.error
            return self.run(step)

        return run


def test_ctrl_c_says_how_to_resume_and_evaluates_no_more(toy_config, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(TrainingStep, "run", StopsInStep(KeyboardInterrupt()))
    cfg = toy_config(SOLVER__CHECKPOINT_PERIOD=2, SOLVER__MAX_ITER=3)
    with caplog.at_level(logging.WARNING), pytest.raises(SystemExit) as stopped:
        train(cfg)
    assert stopped.value.code == 130
    assert "Interrupted in iteration 2" in caplog.text
    assert "--resume goes on from" in caplog.text
    assert "model_0000001.pth" in caplog.text
    names = {path.name for path in (tmp_path / "output").iterdir() if "tfevents" not in path.name}
    assert names == {"last_checkpoint", "metrics.json", "model_0000001.pth"}


def test_a_loss_that_is_not_finite_is_an_error_with_the_iteration(toy_config, monkeypatch):
    monkeypatch.setattr(TrainingStep, "run", StopsInStep(FloatingPointError("the loss is nan")))
    with pytest.raises(FloatingPointError, match=r"iteration 2: the loss is nan.*No checkpoint was written"):
        train(toy_config())


def test_resuming_without_a_checkpoint_starts_from_the_weights(toy_config, tmp_path, caplog):
    first = Trainer(toy_config())
    first.checkpointer.save_weights("start")
    start = tmp_path / "output" / "start.pth"
    second = Trainer(toy_config(MODEL__WEIGHTS=str(start), SEED=8, OUTPUT_DIR=str(tmp_path / "new")))
    second.resume_or_load(resume=True)
    assert second.start_iter == 0
    assert "training starts anew" in caplog.text
    assert_equal(dict(second.model.state_dict()), dict(first.model.state_dict()))


@pytest.mark.parametrize(("key", "value"), [("SOLVER__LR_SCHEDULER_NAME", "Cosine"), ("SOLVER__WARMUP_METHOD", "slow")])
def test_a_schedule_that_does_not_exist_is_named(toy_config, key, value):
    with pytest.raises(UserError, match=f"SOLVER asks for a schedule .*{value}"):
        Trainer(toy_config(**{key: value}))
