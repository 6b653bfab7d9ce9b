import numpy as np
import pytest

from catseg.data.formats import FORMATS, read_dataset
from tests.own_formats import NAMES, bands, coco, mask, photo, text


def test_an_unknown_folder_lists_what_was_looked_for_and_found(tmp_path):
    text(tmp_path / "notes.md", "")
    with pytest.raises(ValueError, match=r"known format\. It holds notes\.md\. Looked for: ") as error:
        read_dataset(tmp_path)
    assert all(f"{name}: " in str(error.value) for name in FORMATS)


def test_a_folder_of_two_formats_is_refused_unless_one_is_named(tmp_path):
    photo(tmp_path / "images" / "a.png")
    mask(tmp_path / "labels" / "a.png", bands(0, 1))
    text(tmp_path / "classes.txt", "\n".join(NAMES))
    coco(tmp_path / "all.json", [(1, "a.png", 12, 16)], [], {1: "cat"})
    with pytest.raises(ValueError, match=r"could be coco \(all\.json\) and label-images \(classes\.txt\)"):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path, format="label-images").vocabulary == NAMES
    assert read_dataset(tmp_path / "all.json").vocabulary == ["cat"]


@pytest.mark.parametrize(
    ("name", "message"), [("data.zip", "is an archive: unpack it"), ("notes.md", "no data set of a known format")]
)
def test_other_files(tmp_path, name, message):
    text(tmp_path / name, "")
    with pytest.raises(ValueError, match=message):
        read_dataset(tmp_path / name)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data set"):
        read_dataset(tmp_path / "gone")
    with pytest.raises(ValueError, match="unknown format 'yolo': there are ultralytics"):
        read_dataset(tmp_path, format="yolo")


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes(tmp_path, kind):
    for split in ("train", "val", "test"):
        photo(tmp_path / "leftImg8bit" / split / "ulm" / "ulm_0_1_leftImg8bit.png", seed=len(split))
    values = bands(7, 33, 0, 29) if kind == "labelIds" else bands(0, 18, 255, 255)
    for split in ("train", "val"):
        mask(tmp_path / "gtFine" / split / "ulm" / f"ulm_0_1_gtFine_{kind}.png", values)
    data = read_dataset(tmp_path)
    assert (data.format, len(data.vocabulary), data.problems) == ("cityscapes", 19, ())
    assert (list(data.splits), data.notes[0]) == (["train", "val"], f"label maps are {kind}")
    assert np.array_equal(data.splits["val"][0].label_map(), bands(0, 18, 255, 255))
    (tmp_path / "gtFine" / "val" / "ulm" / f"ulm_0_1_gtFine_{kind}.png").unlink()
    assert "1 label map is missing" in read_dataset(tmp_path).problems[0]
