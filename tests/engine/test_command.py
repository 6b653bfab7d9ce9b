import json

import pytest
import torch
from open_clip.model import CLIP

from catseg.engine import command
from tests.tiny import CLIP_CONFIG, option_words, tiny_options


def test_the_command_takes_its_arguments_and_name_from_a_program(tmp_path, toy_datasets, monkeypatch):
    monkeypatch.setattr("catseg.engine.setup._log_to", lambda *_: None)  # other tests look at logs
    (tmp_path / "config.yaml").write_text("VERSION: 2\n")
    options = {**tiny_options(tmp_path), "DATASETS.TEST": ("toy_test",), "OUTPUT_DIR": tmp_path / "output"}
    arguments = ["--config-file", str(tmp_path / "config.yaml"), "--eval-only", *option_words(options)]
    command.main(arguments, command="mine.py")
    assert json.loads((tmp_path / "output" / "results.json").read_text())["weights"] == "random weights"
    with pytest.raises(SystemExit, match=r"mine\.py: no dataset is called 'toy_tset'"):
        command.main([*arguments, "DATASETS.TEST", "('toy_tset',)"], command="mine.py")


def test_clip_alone_is_evaluated_and_named(tmp_path, toy_datasets, monkeypatch, caplog):
    monkeypatch.setattr("catseg.engine.setup._log_to", lambda *_: None)
    (tmp_path / "config.yaml").write_text("VERSION: 2\n")
    torch.save(CLIP(**CLIP_CONFIG).state_dict(), tmp_path / "clip.pt")
    options = {
        **tiny_options(tmp_path),
        "DATASETS.TEST": ("toy_test",),
        "OUTPUT_DIR": tmp_path / "output",
        "MODEL.META_ARCHITECTURE": "TrainingFreeSegmenter",
        "MODEL.CLIP.WEIGHTS": tmp_path / "clip.pt",
    }
    command.main(["--config-file", str(tmp_path / "config.yaml"), "--eval-only", *option_words(options)])
    outcome = json.loads((tmp_path / "output" / "results.json").read_text())
    assert outcome["weights"] == f"CLIP's, {tmp_path / 'clip.pt'}"
    assert 0 <= outcome["results"]["toy_test"]["sem_seg"]["mIoU"] <= 100
    assert "RANDOM WEIGHTS" not in caplog.text


def test_the_help_names_the_program(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"], command="mine.py")
    assert "python mine.py --config-file" in capsys.readouterr().out
