"""The benchmark of inference, on a tiny network."""

import json
from pathlib import Path

import pytest

from benchmarks.inference import main

STAGES = {"text", "CLIP", "backbone", "cost volume", "spatial", "class", "decoder", "merge", "post-processing"}


def test_prints_one_json_object(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(
        ["--config", tiny, "--classes", "3", "--size", "40x60", "--threads", "1", "--rounds", "2", "--plain", "--json"]
    )
    found = json.loads(capsys.readouterr().out)
    assert found["units"] > 0
    assert found["images_per_second"] == pytest.approx(1 / found["seconds"])
    assert found["peak_gib_above_model"] >= 0
    assert found["stages"].keys() == STAGES
    assert all(seconds >= 0 for seconds in found["stages"].values())
    assert found["difference_from_plain"] < 1e-5
    assert list(found["measures"]) == ["3 classes, 40 x 60, float32", "3 classes, 40 x 60, float32, plain"]


def test_a_case_for_each_combination(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--classes", "1", "5", "--size", "40x60", "60x40", "--dtype", "float32", "bfloat16", "--rounds", "1"]
    main(["--config", tiny, *words, "--save", str(tmp_path / "report.json")])
    assert "| 5 classes, 60 x 40, bfloat16" in capsys.readouterr().out
    found = json.loads((tmp_path / "report.json").read_text())
    assert len(found["measures"]) == 8
    assert found["raw"]["5 classes, 60 x 40, bfloat16"]["labels_agree"] > 0.9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "absent.yaml"], "no config file absent.yaml"),
        (["--classes", "0"], "at least 1"),
        (["--size", "480"], "480"),
    ],
)
def test_wrong_options_end_the_command(
    words: list[str], message: str, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--config", tiny, *words])
    assert message in capsys.readouterr().err


def test_the_plain_form_needs_windows(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--config", tiny, "--plain", "--threads", "1", "--opts", "TEST.SLIDING_WINDOW", "False"])
    assert "TEST.SLIDING_WINDOW must be True" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["64", "0x10", "axb"])
def test_an_unusable_size_is_named(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--size", size])
    assert "argument --size: expected" in capsys.readouterr().err
