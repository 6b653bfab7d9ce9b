import pytest

pytest.importorskip("pyarrow", reason='pyarrow is not installed: pip install "catseg[batch]"')

import pyarrow.parquet as pq

from catseg.batch.manifest import MANIFEST, PARTS, Manifest, Row, rows_of, table_of
from catseg.batch.storage import Storage
from tests.batch.moody import manifest_rows


def row(image, settings="s", error=None, seconds=0.5):
    there = error is None
    outputs, shares = ({"labels": f"{image}.png"}, {"cat": 0.25}) if there else ({}, {})
    return Row(input=image, outputs=outputs, shares=shares, seconds=seconds, error=error, settings=settings * there)


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path))


@pytest.fixture
def manifest(storage):
    return Manifest(storage)


def test_rows_are_kept_as_they_are():
    rows = [row("a"), row("b", error="is no image")]
    assert rows_of(table_of(rows)) == rows


def test_parts_become_one_file(manifest, storage):
    manifest.add(1, "p", [row("a")])
    manifest.add(1, "q", [row("b"), row("c", error="bad")])
    assert manifest_rows(storage) == []
    manifest.merge()
    assert sorted(found["input"] for found in manifest_rows(storage)) == ["a", "b", "c"]
    assert storage.names(PARTS) == []
    assert manifest.finished() == {"a": "s", "b": "s"}
    manifest.merge()
    assert len(manifest_rows(storage)) == 3


def test_a_piece_that_is_done_twice_is_one_part(manifest, storage):
    manifest.add(1, "p", [row("a", seconds=1.0)])
    manifest.add(1, "p", [row("a", seconds=2.0)])
    assert len(storage.names(PARTS)) == 1
    manifest.merge()
    assert [found["seconds"] for found in manifest_rows(storage)] == [2.0]


def test_an_image_has_one_row_that_of_the_latest_run(manifest, storage):
    assert manifest.next_run() == 1
    manifest.add(9, "p", [row("a", error="bad"), row("b")])
    assert manifest.next_run() == 10
    manifest.add(10, "a piece with the same image", [row("a", settings="new")])
    manifest.merge()
    assert manifest.finished() == {"a": "new", "b": "s"}
    manifest.add(manifest.next_run(), "r", [row("b", settings="newer")])
    manifest.merge()
    assert manifest.finished() == {"a": "new", "b": "newer"}
    assert len(manifest_rows(storage)) == 2


def test_what_is_cut_short_is_merged_again(manifest, storage, monkeypatch):
    manifest.add(1, "p", [row("a")])
    manifest.add(1, "q", [row("b")])

    def cut(name):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "remove", cut)
        with pytest.raises(KeyboardInterrupt):
            manifest.merge()
    assert len(storage.names(PARTS)) == 2
    assert len(manifest_rows(storage)) == 2
    manifest.merge()
    assert len(manifest_rows(storage)) == 2
    assert storage.names(PARTS) == []


def test_a_manifest_that_cannot_be_written_leaves_the_parts(manifest, storage, monkeypatch):
    manifest.add(1, "p", [row("a")])

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_batch", full)
        with pytest.raises(OSError, match="No space"):
            manifest.merge()
    assert not storage.exists(MANIFEST)
    manifest.merge()
    assert manifest.finished() == {"a": "s"}


def test_any_reader_of_parquet_reads_it(manifest, tmp_path):
    manifest.add(1, "p", [row("a")])
    manifest.merge()
    table = pq.read_table(tmp_path / "manifest.parquet")
    assert table.column_names == ["input", "outputs", "shares", "seconds", "error", "settings"]
