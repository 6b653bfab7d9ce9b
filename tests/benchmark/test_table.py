import csv
import json

import pytest

from catseg.benchmark.table import make_row, markdown, signed, write_tables


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        (0.4, "+0.40"),
        (-0.4, "\N{MINUS SIGN}0.40"),
        (0.0049, "0.00"),
        (-0.0049, "0.00"),
        (-12.345, "\N{MINUS SIGN}12.35"),
    ],
)
def test_differences_have_signs(difference, text):
    assert signed(difference) == text


def test_rows_compare_with_what_is_published(make_pair, make_record):
    row = make_row(make_pair(), make_record(miou=37.5))
    assert (row.benchmark, row.published, row.partial) == ("A-150", 37.9, False)
    assert row.difference == pytest.approx(-0.4)
    assert "CVPR" in row.source


def test_models_of_ones_own_have_nothing_to_compare_with(make_pair, make_record):
    row = make_row(make_pair("ours"), make_record())
    assert (row.published, row.difference, row.source) == (None, None, "")


def test_an_incomplete_data_set_is_not_compared(make_pair, make_record):
    row = make_row(make_pair(), make_record(images=5))
    assert row.partial
    assert (row.published, row.difference) == (37.9, None)
    text = markdown([row], [])
    assert "37.50† (37.9)" in text
    assert "v2-large on A-150: 5 of 2000" in text


def test_the_table_has_a_row_per_model_and_a_column_per_data_set(make_pair, make_record):
    rows = [
        make_row(make_pair("v2-large"), make_record(miou=37.5)),
        make_row(make_pair("a|b", "shapes_train_sem_seg"), make_record(miou=50.0, images=4000)),
    ]
    text = markdown(rows, ["a note"])
    head, _, first, second = text.splitlines()[:4]
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["model", "A-150", "shapes_train_sem_seg"]
    assert [cell.strip() for cell in first.strip("|").split("|")] == [
        "v2-large",
        "37.50 (37.9, \N{MINUS SIGN}0.40)",
        "-",
    ]
    assert second.split() == ["|", "a\\|b", "|", "-", "|", "50.00", "|"]
    assert "a note" in text
    assert "sha256 0123456789abcdef)" in text


def test_files_hold_all_of_it(tmp_path, make_pair, make_record):
    rows = [make_row(make_pair(), make_record()), make_row(make_pair("ours"), make_record())]
    write_tables(tmp_path, rows, ["a note"])
    report = json.loads((tmp_path / "results.json").read_text())
    assert report["notes"] == ["a note"]
    assert report["rows"][0]["difference"] == pytest.approx(-0.4)
    assert report["rows"][1]["published"] is None
    with (tmp_path / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["model"], line["miou"], line["published"]) for line in lines] == [
        ("v2-large", "37.5", "37.9"),
        ("ours", "37.5", ""),
    ]
    assert (tmp_path / "results.md").read_text().startswith("| model")


def test_an_empty_table_is_written_too(tmp_path):
    write_tables(tmp_path, [], ["Left out: everything"])
    assert "Left out" in (tmp_path / "results.md").read_text()
