import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_sem_seg
from PIL import Image

from catseg.data.checks import check_dataset, check_label_maps
from catseg.errors import InputError

CLASSES = ["ground", "patch"]


@pytest.fixture
def dataset(tmp_path):
    """Registers a data set called "mine" of two images; its records, which tests change."""
    records = []
    for index in range(2):
        record = {"file_name": f"{tmp_path}/{index}.jpg", "sem_seg_file_name": f"{tmp_path}/{index}.png"}
        labels = np.zeros((6, 8), np.uint8)
        labels[:3] = 1
        Image.fromarray(labels).save(record["sem_seg_file_name"])
        Image.new("RGB", (8, 6)).save(record["file_name"])
        records.append(record)
    DatasetCatalog.register("mine", lambda: records)
    MetadataCatalog.get("mine").set(stuff_classes=CLASSES, ignore_label=255)
    yield records
    DatasetCatalog.remove("mine")
    MetadataCatalog.remove("mine")


def with_metadata(**metadata):
    MetadataCatalog.remove("mine")
    MetadataCatalog.get("mine").set(**metadata)


def with_function(function):
    DatasetCatalog.remove("mine")
    DatasetCatalog.register("mine", function)


def test_a_good_dataset_passes(dataset, caplog):
    check_dataset("mine")
    check_label_maps("mine", coverage=True)
    with_metadata(stuff_classes=tuple(CLASSES), ignore_label=np.int64(-1), scored_classes=["all"])
    check_dataset("mine")
    assert caplog.text == ""


@pytest.mark.parametrize(("image", "label"), [("2.JPG", "2.png"), ("2.jpg", "2.PNG"), ("2.jpeg", "2.png")])
def test_pairs_that_are_lost_for_their_suffixes_are_named(dataset, tmp_path, caplog, image, label):
    Image.new("RGB", (8, 6)).save(tmp_path / image, "JPEG")
    check_dataset("mine")
    assert caplog.text == ""
    Image.new("L", (8, 6)).save(tmp_path / label, "PNG")
    with_function(lambda: load_sem_seg(str(tmp_path), str(tmp_path), "png", "jpg"))
    caplog.clear()
    check_dataset("mine")
    assert f"of the records: {image}; catseg.data.pairs.load_pairs lists them all" in caplog.text


def test_pairs_of_another_split_are_no_concern(dataset, tmp_path, caplog):
    Image.new("RGB", (8, 6)).save(tmp_path / "2.jpg")
    Image.new("L", (8, 6)).save(tmp_path / "2.png")
    check_dataset("mine")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            {"stuff_classes": CLASSES},
            r'mine has no ignore_label, .*: MetadataCatalog\.get\("mine"\)\.set\(ignore_label=',
        ),
        (
            {"stuff_classes": CLASSES, "ignore_label": "255"},
            "ignore_label of .* mine must be a whole number, got '255'",
        ),
        ({"stuff_classes": CLASSES, "ignore_label": True}, "must be a whole number, got True"),
        ({"stuff_classes": CLASSES, "ignore_label": 1}, "ignore_label of .* mine is 1, which is the class 'patch'"),
        ({"ignore_label": 255}, "mine has no stuff_classes"),
        ({"stuff_classes": [], "ignore_label": 255}, "stuff_classes of the data set mine"),
        ({"stuff_classes": ["dog", "dog"], "ignore_label": 255}, "stuff_classes of the data set mine repeats"),
        ({"stuff_classes": ["dog", 3], "ignore_label": 255}, "stuff_classes of the data set mine"),
        ({"stuff_classes": {0: "dog"}, "ignore_label": 255}, "stuff_classes of the data set mine must be a list"),
        ({"stuff_classes": CLASSES, "ignore_label": 255, "scored_classes": ["a", "b", "c"]}, "3 scored_classes and 2"),
        ({"stuff_classes": CLASSES, "ignore_label": 255, "score_groups": {"all": [0, 2]}}, "beyond 1 in 'all'"),
    ],
)
def test_metadata_that_lack_something(dataset, metadata, message):
    with_metadata(**metadata)
    with pytest.raises(InputError, match=message) as caught:
        check_dataset("mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sem_seg_file_name": None},
            "record 1 of the data set mine has None as 'sem_seg_file_name': it must be the path",
        ),
        ({"file_name": 3}, "record 1 of the data set mine has 3 as 'file_name': it must be the path of the image"),
    ],
)
def test_records_of_another_kind(dataset, change, message):
    dataset[1] |= change
    with pytest.raises(InputError, match=message):
        check_dataset("mine")


def test_records_that_lack_something(dataset):
    del dataset[0]["sem_seg_file_name"]
    with pytest.raises(InputError, match="record 0 of the data set mine has no 'sem_seg_file_name'"):
        check_dataset("mine")
    dataset[0] = "a.jpg"
    with pytest.raises(InputError, match="record 0 of the data set mine must be a dict, got str"):
        check_dataset("mine")
    dataset.clear()
    with pytest.raises(FileNotFoundError, match="mine holds no images"):
        check_dataset("mine")


def test_functions_that_return_no_list(dataset):
    with_function(lambda: (record for record in dataset))
    with pytest.raises(InputError, match=r"must return a list of records, got generator: wrap it in list\(\.\.\.\)"):
        check_dataset("mine")
    with_function(lambda: None)
    with pytest.raises(InputError, match=r"must return a list of records, got NoneType$"):
        check_dataset("mine")

    def nothing():
        raise AssertionError("No annotations found in labels.")

    with_function(nothing)
    with pytest.raises(InputError, match=r"the data set mine cannot be listed: No annotations found in labels\."):
        check_dataset("mine")


def test_files_that_do_not_exist(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset[0]["sem_seg_file_name"] = "0.png"
    check_dataset("mine")
    dataset[0]["sem_seg_file_name"] = "labels/0.png"
    message = r"1 of the 2 label maps of the data set mine do not exist: labels/0\.png \(relative paths start in .*\)"
    with pytest.raises(FileNotFoundError, match=message):
        check_dataset("mine")


def test_masks_of_0_and_255_are_warned_of(dataset, caplog):
    for record in dataset:
        with Image.open(record["sem_seg_file_name"]) as image:
            mask = np.asarray(image) * 255
        Image.fromarray(mask).save(record["sem_seg_file_name"])
    check_label_maps("mine", coverage=False)
    assert caplog.text == ""
    check_label_maps("mine", coverage=True)
    assert "no pixel of class 1 (patch) in 2 label maps; 50 % of the pixels have the ignored value 255" in caplog.text


def test_label_maps_of_more_classes(dataset):
    with_metadata(stuff_classes=["ground"], ignore_label=255)
    check_dataset("mine")
    with pytest.raises(InputError, match=r"0\.png has values that are no class: 1; there are 1 classes"):
        check_label_maps("mine", coverage=True)
