import pytest
import torch

from catseg.modeling.clip.loading import build_clip
from catseg.shapes import pretrain_clip as tool
from catseg.shapes.classes import HELD_OUT_OBJECTS, OBJECTS
from catseg.shapes.contrastive import Schedule
from catseg.shapes.pretrain_clip import MODEL, Pretraining, main, pretrain_clip, read_report


def quick(steps=2, **settings):
    return Pretraining(**{"min_accuracy": 0.0, "schedule": Schedule(steps=steps, batch_size=8), **settings})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return pretrain_clip(tmp_path_factory.mktemp("clip"), quick())


def test_checkpoint_loads_strictly_and_is_trained(made):
    trained, start = build_clip(MODEL, str(made)).state_dict(), build_clip(MODEL).state_dict()
    assert trained.keys() == start.keys()
    torch.manual_seed(0)
    start = build_clip(MODEL).state_dict()
    assert torch.equal(trained["token_embedding.weight"], start["token_embedding.weight"])
    assert not torch.equal(trained["visual.conv1.weight"], start["visual.conv1.weight"])
    assert not torch.equal(trained["text_projection"], start["text_projection"])


def test_report_tells_settings_and_accuracy(made):
    report = read_report(made.parent)
    assert report["settings"]["schedule"]["steps"] == 2
    assert report["settings"]["strict"] is False
    assert 0 <= report["accuracy"]["told"] <= 1
    assert 0 <= report["accuracy"]["held_out"] <= 1


def test_second_run_does_nothing(made, monkeypatch):
    monkeypatch.setattr(tool, "train_clip", None)
    assert pretrain_clip(made.parent, quick()) == made


@pytest.mark.parametrize("other", [quick(steps=3), quick(seed=1), quick(strict=True)])
def test_other_settings_are_refused(made, other):
    with pytest.raises(FileExistsError, match="was made with the settings"):
        pretrain_clip(made.parent, other)


def test_checkpoint_without_report_is_refused(tmp_path):
    (tmp_path / "clip.safetensors").write_bytes(b"someone else's")
    with pytest.raises(FileExistsError, match=r"no readable clip.json"):
        pretrain_clip(tmp_path, quick())


def test_same_seed_same_weights(made, tmp_path):
    again = pretrain_clip(tmp_path, quick())
    assert again.read_bytes() == made.read_bytes()


def test_too_few_pixels_named_right_is_an_error_and_writes_nothing(tmp_path):
    with pytest.raises(RuntimeError, match=r"at least 0\.60 are wanted.*more than 2 steps"):
        pretrain_clip(tmp_path / "clip", quick(min_accuracy=0.6))
    assert not (tmp_path / "clip").exists()


def test_strict_leaves_held_out_objects_out():
    assert quick().objects == OBJECTS
    assert set(OBJECTS) - set(quick(strict=True).objects) == set(HELD_OUT_OBJECTS)


def test_interruption_leaves_nothing(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        yield 1.0
        raise KeyboardInterrupt

    monkeypatch.setattr(tool, "train_clip", interrupted)
    with pytest.raises(SystemExit, match="130"):
        main(["--output", str(tmp_path / "clip"), "--steps", "3"])
    assert "interrupted, nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "clip").exists()


def test_command_line_says_what_is_wrong(made, tmp_path):
    with pytest.raises(SystemExit, match="was made with the settings"):
        main(["--output", str(made.parent)])
    with pytest.raises(SystemExit, match="are wanted"):
        main(["--output", str(tmp_path), "--steps", "1", "--strict", "--min-accuracy", "1.0"])
