import os

import pytest

pytest.importorskip("pyarrow", reason='pyarrow is not installed: pip install "catseg[batch]"')

import pyarrow as pa
import pyarrow.parquet as pq

from catseg.batch.contents import Contents
from catseg.batch.references import find_references, references_of_table, references_to_table
from catseg.segmenting.inputs import find_images
from tests.batch.moody import write_images


@pytest.fixture
def photos(tmp_path):
    folder = write_images(tmp_path / "photos", 2)
    write_images(folder / "trip", 1)
    (folder / "notes.txt").write_text("none")
    return folder


def names(*inputs, output="/out"):
    return [reference.name for reference in find_references([str(word) for word in inputs], str(output))[0]]


def test_a_folder_is_what_catseg_segment_makes_of_it(photos):
    found, left_out = find_references([str(photos)], "/out")
    images, others = find_images([str(photos)], photos.parent / "out", recursive=True)
    assert [(item.input, item.name) for item in found] == [(str(item.path), item.name) for item in images]
    assert left_out == others
    assert [item.image() for item in found] == images


def test_references_go_through_tables(photos):
    found, _ = find_references([str(photos)], "/out")
    assert references_of_table(references_to_table(found)) == found


def test_a_table_of_paths(photos, tmp_path):
    paths = [str(photos / "0001.png"), "photos/trip/0000.png", str(photos / "0001.png")]
    pq.write_table(pa.table({"path": paths}), tmp_path / "list.parquet")
    found, _ = find_references([str(tmp_path / "list.parquet")], "/out")
    assert [(item.input, item.name) for item in found] == [
        (str(photos / "0001.png"), "0001"),
        (str(photos / "trip/0000.png"), "trip/0000"),
    ]


def test_tables_of_a_pattern_with_names(photos, tmp_path):
    for index in range(2):
        table = pa.table({"name": [f"n/{index}"], "uri": [str(photos / f"000{index}.png")]})
        pq.write_table(table, tmp_path / f"list{index}.parquet")
    assert names(tmp_path / "list*.parquet") == ["n/0", "n/1"]


@pytest.mark.parametrize("nested", [False, True])
def test_a_table_of_images(photos, tmp_path, nested):
    contents = [path.read_bytes() for path in sorted(photos.rglob("*.png"))]
    column = [{"bytes": content, "path": None} for content in contents] if nested else contents
    pq.write_table(pa.table({"image": column}), tmp_path / "data.parquet", row_group_size=2)
    found, _ = find_references([str(tmp_path / "data.parquet")], "/out")
    assert [item.name for item in found] == [f"data/{index:09d}" for index in range(3)]
    reader = Contents()
    assert [reader.read(item) for item in reversed(found)] == contents[::-1]
    assert found[1].image(b"x").input == f"{tmp_path}/data.parquet#1"


def test_a_name_that_the_manifest_cannot_hold_is_told(photos):
    odd = photos / os.fsdecode(b"caf\xe9.png")
    odd.write_bytes((photos / "0000.png").read_bytes())
    found, left_out = find_references([str(photos)], "/out")
    assert len(found) == 3
    assert "Unicode" in left_out[str(odd)]


def wrong_table(tmp_path, columns):
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    return [str(tmp_path / "list.parquet")]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (lambda folder: wrong_table(folder, {"file": ["a"]}), "has the columns file: expected one of path, uri"),
        (lambda folder: wrong_table(folder, {"path": ["a.png", None]}), "row 1 names no image"),
        (lambda folder: wrong_table(folder, {"path": ["a.png"], "name": ["../a"]}), "names its results '../a'"),
        (lambda folder: wrong_table(folder, {"path": ["a.png", "b.png"], "name": ["x", "X"]}), "results of one name"),
        (lambda folder: wrong_table(folder, {"path": []}), "no images in"),
        (lambda folder: [str(folder / "out/a.png")], "lies in the output folder"),
        (lambda folder: [str(folder / "no.parquet")], "is no Parquet file"),
        (lambda folder: ["floppy://a/b"], "on no file system that is known"),
    ],
)
def test_what_cannot_be_used(tmp_path, inputs, message):
    (tmp_path / "out").mkdir()
    write_images(tmp_path / "out", 1)
    (tmp_path / "out/a.png").write_bytes((tmp_path / "out/0000.png").read_bytes())
    (tmp_path / "no.parquet").write_text("none")
    with pytest.raises(ValueError, match=message):
        find_references(inputs(tmp_path), str(tmp_path / "out"))


def test_what_is_not_there(tmp_path):
    for word in ("none", "none.parquet", "none*.parquet"):
        with pytest.raises(FileNotFoundError):
            find_references([str(tmp_path / word)], "/out")
