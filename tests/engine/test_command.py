import json

import pytest

from catseg.engine import command
from tests.tiny import option_words, tiny_options


def test_the_command_takes_its_arguments_and_name_from_a_program(tmp_path, toy_datasets, monkeypatch):
    monkeypatch.setattr("catseg.engine.setup._log_to", lambda *_: None)  # other tests look at logs
    (tmp_path / "config.yaml").write_text("VERSION: 2\n")
    options = {**tiny_options(tmp_path), "DATASETS.TEST": ("toy_test",), "OUTPUT_DIR": tmp_path / "output"}
    arguments = ["--config-file", str(tmp_path / "config.yaml"), "--eval-only", *option_words(options)]
    command.main(arguments, command="mine.py")
    assert json.loads((tmp_path / "output" / "results.json").read_text())["weights"] == "random weights"
    with pytest.raises(SystemExit, match=r"mine\.py: no dataset is called 'toy_tset'"):
        command.main([*arguments, "DATASETS.TEST", "('toy_tset',)"], command="mine.py")


def test_the_help_names_the_program(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"], command="mine.py")
    assert "python mine.py --config-file" in capsys.readouterr().out
