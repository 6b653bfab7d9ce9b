import re

from catseg.benchmark.page import write_benchmark_page
from catseg.benchmark.table import make_row
from tests.pages.html import Page

NASTY = "<script>alert('x')</script> & \"cat\""


def page(tmp_path, rows, records, left_out=None, options=()):
    write_benchmark_page(
        tmp_path / "index.html",
        rows,
        records,
        folders=[tmp_path] * len(rows),
        options=options,
        left_out=left_out or {},
    )
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_names_are_escaped(tmp_path, make_pair, make_record):
    record = make_record(name=NASTY)
    text, checker = page(tmp_path, [make_row(make_pair(NASTY), record)], [record], {NASTY: NASTY}, [NASTY])
    assert text.count("<script") == 1  # its own
    # Class, confusion, chip, image, model and note.
    assert "".join(checker.texts).count("<script>alert('x')</script> & \"cat\"") >= 7


def test_the_page_needs_no_other_file(tmp_path, make_pair, make_record):
    record = make_record()
    text, checker = page(tmp_path, [make_row(make_pair(), record)], [record])
    assert all(link.startswith(("#pair-", "data:image/webp;base64,")) for link in checker.links)
    assert {link[1:] for link in checker.links if link.startswith("#")} <= set(checker.ids)
    assert not re.search(r"url\(|@import|<link", text)


def test_numbers_stand_beside_the_published_ones(tmp_path, make_pair, make_record):
    record = make_record(miou=37.5)
    near, far = make_row(make_pair(), record), make_row(make_pair("v1-large"), make_record(miou=20.0))
    text, _ = page(tmp_path, [near, far], [record, make_record(miou=20.0)])
    assert '<span class="good">\N{MINUS SIGN}0.40</span>' in text
    assert '<span class="bad">\N{MINUS SIGN}11.50</span>' in text
    assert "CVPR 2024" in text


def test_missing_pairs_leave_a_gap_and_a_note(tmp_path, make_pair, make_record):
    records = [make_record(), make_record(images=3)]
    rows = [make_row(make_pair("a"), records[0]), make_row(make_pair("v1-base", "context_59_test_sem_seg"), records[1])]
    text, checker = page(tmp_path, rows, records, {"PC-459": "prepare it"})
    assert text.count('<td class="faint">-</td>') == 2
    assert "Left out: PC-459: prepare it" in checker.texts
    assert "Not all images" in text


def test_nothing_at_all_is_a_page(tmp_path):
    page(tmp_path, [], [], {"A-150": "missing"})
