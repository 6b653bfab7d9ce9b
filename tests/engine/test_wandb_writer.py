import sys
from types import ModuleType, SimpleNamespace

import pytest
from detectron2.utils.events import EventStorage

from catseg.engine.setup import argument_parser, setup
from catseg.engine.trainer import Trainer
from catseg.engine.wandb_writer import WandbWriter
from catseg.errors import UserError


class FakeWandb(ModuleType):
    """Stands for the package: keeps what it is told."""

    def __init__(self):
        super().__init__("wandb")
        self.begun, self.logged, self.finished = [], [], 0

    def init(self, **options):
        self.begun.append(options)
        return SimpleNamespace(id=options["id"] or f"run{len(self.begun)}", log=self.log, finish=self.finish)

    def log(self, scalars, step):
        self.logged.append((step, scalars))

    def finish(self):
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_a_training_sends_its_scalars_by_iteration(wandb, toy_config, tmp_path):
    Trainer(toy_config(LOGGING__WANDB_PROJECT="segments")).train()
    [begun] = wandb.begun
    assert (begun["project"], begun["name"], begun["dir"]) == ("segments", "output", str(tmp_path / "output"))
    assert begun["config"]["SOLVER.MAX_ITER"] == 4
    steps = [step for step, _ in wandb.logged]
    assert steps == sorted(steps)
    sent = {name for _, scalars in wandb.logged for name in scalars}
    assert sent >= {"total_loss", "lr", "sem_seg/mIoU"}
    assert wandb.finished == 1


def test_scalars_are_sent_once(wandb, toy_config):
    writer = WandbWriter(toy_config(LOGGING__WANDB_PROJECT="segments"))
    with EventStorage(3) as storage:
        storage.put_scalar("a", 1.0)
        writer.write()
        storage.step()
        storage.put_scalar("b", 2.0)
        writer.write()
        writer.write()
    assert wandb.logged == [(3, {"a": 1.0}), (4, {"b": 2.0})]


def test_a_resumed_training_goes_on_with_its_run(wandb, toy_config):
    cfg = toy_config(LOGGING__WANDB_PROJECT="segments")
    for resume in (False, True, False):
        WandbWriter(cfg, resume=resume)
    assert [begun["id"] for begun in wandb.begun] == [None, "run1", None]


def test_a_training_does_without_unless_asked(wandb, toy_config):
    Trainer(toy_config())
    assert wandb.begun == []


def arguments(tmp_path, *words):
    file = tmp_path / "config.yaml"
    file.write_text("LOGGING: {WANDB_PROJECT: segments}\nINPUT: {CROP: {ENABLED: True}}\n")
    return argument_parser("").parse_args(["--config-file", str(file), *words])


@pytest.mark.parametrize("found", [None, ModuleType("wandb")], ids=["nothing", "a folder"])
def test_it_is_needed_before_training_begins(monkeypatch, tmp_path, found):
    monkeypatch.setitem(sys.modules, "wandb", found)
    with pytest.raises(UserError, match=r"LOGGING.WANDB_PROJECT is 'segments', .*pip install wandb.*WANDB_PROJECT ''"):
        setup(arguments(tmp_path))
    with pytest.raises(Exception, match=r"DATASETS|WEIGHTS") as error:
        setup(arguments(tmp_path, "--eval-only"))
    assert "wandb" not in str(error.value)


def test_a_run_that_cannot_begin_is_an_error_in_one_line(wandb, toy_config, monkeypatch):
    def fail(**_):
        raise RuntimeError("api_key not configured")

    monkeypatch.setattr(wandb, "init", fail)
    with pytest.raises(UserError, match=r"project 'segments': api_key not configured\. .*WANDB_MODE=offline"):
        Trainer(toy_config(LOGGING__WANDB_PROJECT="segments"))
