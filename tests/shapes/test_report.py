import json

import pytest

from catseg.shapes.report import COLUMNS, SEEN_TEST, UNSEEN_TEST, collect_rows, write_report


def outcome(*, seed, strict, catseg):
    def results(value):
        metrics = {
            "mIoU": value,
            "mIoU-objects": value + 1,
            "mIoU-held-out": value + 2,
            "mIoU-held-out-objects": value + 3,
        }
        return {dataset: {"sem_seg": metrics} for dataset in (SEEN_TEST, UNSEEN_TEST)}

    return {
        "clip": {"settings": {"seed": seed, "strict": strict}, "accuracy": {"told": 0.7, "held_out": 0.6}},
        "results": {"raw": results(20.0), "catseg": results(catseg), "control": results(1.0)},
    }


@pytest.fixture
def outcomes():
    return [
        outcome(seed=0, strict=False, catseg=50.0),
        outcome(seed=0, strict=True, catseg=40.0),
        outcome(seed=1, strict=False, catseg=60.0),
        outcome(seed=1, strict=True, catseg=42.0),
    ]


def test_rows_gather_the_seeds_of_each_kind(outcomes):
    rows = {row.name: row for row in collect_rows(outcomes)}
    assert list(rows) == [
        "raw cost volume",
        "CAT-Seg",
        "CAT-Seg, names permuted",
        "raw cost volume, strict",
        "CAT-Seg, strict",
        "CAT-Seg, names permuted, strict",
    ]
    assert rows["CAT-Seg"].values["seen"] == [50.0, 60.0]
    assert rows["CAT-Seg"].mean("never seen") == 57.0
    assert rows["CAT-Seg, strict"].text("never-seen objects") == "44.0 ± 1.4"
    assert rows["raw cost volume"].mean("seen objects") == 21.0


def test_one_seed_has_no_spread(outcomes):
    (row,) = (row for row in collect_rows(outcomes[:1]) if row.kind == "catseg")
    assert row.text("seen") == "50.0"


def test_report_files(outcomes, tmp_path):
    rows = collect_rows(outcomes)
    table = write_report(tmp_path, rows, outcomes, command="python -m something --seeds 0 1")
    text = (tmp_path / "results.md").read_text()
    assert table in text
    assert "python -m something --seeds 0 1" in text
    assert all(f"| {column}" in table for column in COLUMNS)
    assert "| 55.0 ± 7.1 |" in table
    report = json.loads((tmp_path / "results.json").read_text())
    assert report["rows"][1]["mIoU"]["never seen"] == [52.0, 62.0]
    assert len(report["runs"]) == 4
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
