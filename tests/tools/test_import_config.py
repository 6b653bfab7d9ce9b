"""Configs of the authors' code, printed in our keys."""

from pathlib import Path

import pytest

from catseg.config import load_config
from catseg.tools.import_config import main
from tests.authors_configs import EVALUATION, MODELS, write_authors_config


@pytest.mark.parametrize("model", MODELS)
def test_what_is_printed_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str) -> None:
    theirs = write_authors_config(tmp_path, model)
    assert main([str(theirs), *EVALUATION]) == 0
    printed = capsys.readouterr()
    (tmp_path / "ours.yaml").write_text(printed.out)
    assert load_config(tmp_path / "ours.yaml") == load_config(theirs, EVALUATION)
    assert "HIDDEN_DIMS" not in printed.out  # as by default
    assert "CLIP_FINETUNE 'attention' -> MODEL.CLIP.FINETUNE" in printed.err or model.startswith("v1")
    assert f"of version {model[1]} of the authors' code" in printed.err


def test_ours_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs/catseg_shapes.yaml"]) == 0
    printed = capsys.readouterr()
    (tmp_path / "ours.yaml").write_text(printed.out)
    assert load_config(tmp_path / "ours.yaml") == load_config("configs/catseg_shapes.yaml")
    assert "no key that only the authors' code has" in printed.err


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = write_authors_config(tmp_path, "v1_large")
    with pytest.raises(SystemExit) as left:
        main([str(theirs), "MODEL.SEM_SEG_HEAD.CLIP_PRETRAINED", "RN50x64"])
    assert "CLIP_PRETRAINED 'RN50x64' of the authors' code cannot be honoured here" in str(left.value)
    assert capsys.readouterr().out == ""
