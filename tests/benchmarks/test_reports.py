"""Reports of the benchmarks: on the screen, in files, as images, and beside earlier ones."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.reports import Report, comparison, make_parser, publish


def report(units: float = 12.0) -> Report:
    return Report(
        title="Speed of things",
        settings={"rounds": 3},
        machine={"threads": 1},
        calibration=(120.4, 130.6),
        rows=[{"thing": "a", "ms": "1.50"}],
        raw=[{"seconds": (0.25, 0.5)}],
        measures={"a": {"units": units, "GiB": 0.5}, "b": {"units": 3.0}},
        headline={"units": units},
    )


def show(shown: Report, *words: str) -> None:
    """Publish a report as the words of a command line ask for."""
    parser = make_parser("things", "Compare things.", rounds=3)
    publish(shown, parser.parse_args(words), parser)


def test_a_table_on_the_screen_and_everything_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(report(), "--save", str(tmp_path / "made" / "report.json"))
    text = capsys.readouterr().out
    assert text.startswith("# Speed of things\n\nrounds 3, threads 1\n")
    assert "120 ms before, 131 ms after" in text
    assert "| a       | 1.50 |" in text
    stored = json.loads((tmp_path / "made" / "report.json").read_text())
    assert stored["raw"] == [{"seconds": [0.25, 0.5]}]


def test_json_is_one_object_with_the_headline_on_top(capsys: pytest.CaptureFixture[str]) -> None:
    show(report(), "--json")
    assert json.loads(capsys.readouterr().out)["units"] == 12


def test_compares_what_both_reports_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(report(24.0), "--json", "--save", str(tmp_path / "before.json"))
    capsys.readouterr()
    show(report(12.0), "--compare", str(tmp_path / "before.json"))
    assert "| a      | units    | 24       | 12    | 0.50    |" in capsys.readouterr().out
    show(report(12.0), "--json", "--compare", str(tmp_path / "before.json"))
    captured = capsys.readouterr()
    assert json.loads(captured.out)
    assert "0.50" in captured.err


def test_reports_without_a_common_case_are_named() -> None:
    with pytest.raises(ValueError, match=r"has the cases \['c'\], none of \['a', 'b'\]"):
        comparison(report(), {"measures": {"c": {"units": 1.0}}})


def test_other_settings_are_told_beside_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(report(), "--json", "--save", str(tmp_path / "before.json"))
    show(replace(report(), machine={"threads": 2}), "--compare", str(tmp_path / "before.json"))
    assert capsys.readouterr().out.endswith("not the same: threads was 1, is 2\n")


@pytest.mark.parametrize("content", [None, "junk", "[1]", '{"measures": 3}'])
def test_a_report_that_cannot_be_compared_with_is_named_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    if content is not None:
        (tmp_path / "other.json").write_text(content)
    with pytest.raises(SystemExit):
        make_parser("things", "Compare things.", rounds=3).parse_args(["--compare", str(tmp_path / "other.json")])
    assert "other.json" in capsys.readouterr().err


def test_an_unknown_kind_of_image_is_refused_before_anything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser("things", "Compare things.", rounds=3).parse_args(["--plot", "speed.xyz"])
    assert "speed.xyz must end in one of" in capsys.readouterr().err


def test_draws_the_measures(tmp_path: Path) -> None:
    show(report(), "--json", "--plot", str(tmp_path / "speed.png"))
    assert Image.open(tmp_path / "speed.png").width > 500
