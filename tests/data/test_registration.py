import logging
from dataclasses import replace

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from catseg.data import registration
from catseg.data.dataset_specs import (
    ADE20K_150,
    BENCHMARKS,
    COCO_STUFF_171,
    DATASETS,
    PASCAL_VOC_20,
    PASCAL_VOC_20B,
    datasets_root,
)
from catseg.data.registration import dataset_vocabulary, load_records, register_datasets
from catseg.errors import InputError
from catseg.vocabulary import load_vocabulary

TEST = "ade20k_150_test_sem_seg"


@pytest.fixture(autouse=True)
def _forget_datasets():
    yield
    for spec in DATASETS:
        if spec.name in DatasetCatalog:
            DatasetCatalog.remove(spec.name)
        if spec.name in MetadataCatalog:
            MetadataCatalog.remove(spec.name)


def write_images(folder, names, suffix):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((4, 5), dtype=np.uint8)).save(folder / f"{name}.{suffix}")


@pytest.fixture
def root(tmp_path):
    """Holds ADE20K's validation split of three images."""
    write_images(tmp_path / ADE20K_150[1].image_dir, "abc", "jpg")
    write_images(tmp_path / ADE20K_150[1].label_dir, "abc", "png")
    return tmp_path


@pytest.mark.parametrize("spec", DATASETS, ids=lambda spec: spec.name)
def test_every_dataset_has_its_metadata_without_files(spec, tmp_path):
    register_datasets(tmp_path / "nowhere")
    metadata = MetadataCatalog.get(spec.name)
    assert metadata.stuff_classes == spec.classes
    assert metadata.evaluator_type == "sem_seg"
    assert metadata.ignore_label == spec.ignore_label
    assert metadata.image_root == str(tmp_path / "nowhere" / spec.image_dir)
    assert metadata.sem_seg_root == str(tmp_path / "nowhere" / spec.label_dir)
    assert metadata.scored_classes == list(spec.scored_classes or spec.classes)
    assert metadata.score_groups.keys() == spec.score_groups.keys()
    for group, names in spec.score_groups.items():
        assert [spec.classes[index] for index in metadata.score_groups[group]] == list(names)


@pytest.fixture
def mine():
    """The metadata of a data set called "mine"."""
    yield MetadataCatalog.get("mine")
    MetadataCatalog.remove("mine")


def test_classes_of_an_own_dataset(mine):
    mine.stuff_classes = ["grass", "sofa, couch", ("cat", "kitten")]
    vocabulary = dataset_vocabulary("mine")
    assert vocabulary.synonyms == (("grass",), ("sofa", "couch"), ("cat", "kitten"))
    assert vocabulary.origin == "stuff_classes of the data set mine"


def test_a_benchmark_states_its_synonyms():
    register_datasets()
    name = "ade20k_full_sem_seg_freq_val_all"
    assert dataset_vocabulary(name) is MetadataCatalog.get(name).stuff_classes
    assert dataset_vocabulary(name).synonyms[1] == ("building", "edifice")


def test_classes_may_go_by_other_names(mine, tmp_path):
    mine.stuff_classes = ["grass", "sofa", "cat"]
    names = tmp_path / "names.json"
    names.write_text('["grass, lawn", "sofa", "cat "]')
    assert dataset_vocabulary("mine", str(names)).synonyms == (("grass", "lawn"), ("sofa",), ("cat",))
    names.write_text('["grass", "sofa"]')
    with pytest.raises(ValueError, match=r"names.json has 2 names, but the data set mine has 3 classes"):
        dataset_vocabulary("mine", str(names))
    names.write_text('["grass", "cat", "sofa"]')
    with pytest.raises(ValueError, match=r"mine in another order: 'cat' is in the place of 'sofa'"):
        dataset_vocabulary("mine", str(names))
    with pytest.raises(FileNotFoundError, match=r"absent.json"):
        dataset_vocabulary("mine", str(tmp_path / "absent.json"))


@pytest.mark.parametrize("classes", [{0: "a", 1: "b"}, "dog, cat", 3])
def test_classes_of_a_dataset_are_a_list(mine, classes):
    mine.stuff_classes = classes
    with pytest.raises(ValueError, match="stuff_classes of the data set mine must be a list"):
        dataset_vocabulary("mine")
    with pytest.raises(ValueError, match="no data set is registered as 'nobodys'"):
        dataset_vocabulary("nobodys")


def test_a_dataset_without_stuff_classes(mine):
    mine.set(ignore_label=255)
    with pytest.raises(
        InputError, match=r"mine has no stuff_classes, .*maps: Metadata.*\(\"mine\"\)\.set\(stuff_classes="
    ):
        dataset_vocabulary("mine")
    mine.set(thing_classes=["cat"])
    with pytest.raises(InputError, match=r"has no stuff_classes, .*, but thing_classes, which"):
        dataset_vocabulary("mine")


def test_published_names_classes_and_sizes():
    table = {spec.name: (spec.vocabulary, spec.image_count, spec.ignore_label) for spec in BENCHMARKS}
    assert table == {
        "ade20k_150_train_sem_seg": ("ade20k_150", 20210, 255),
        "ade20k_150_test_sem_seg": ("ade20k_150", 2000, 255),
        "ade20k_full_sem_seg_freq_val_all": ("ade20k_847", 2000, 65535),
        "coco_2017_train_stuff_all_sem_seg": ("coco_stuff_171", 118287, 255),
        "coco_2017_test_stuff_all_sem_seg": ("coco_stuff_171", 5000, 255),
        "context_59_test_sem_seg": ("pascal_context_59", 5104, 255),
        "context_459_test_sem_seg": ("pascal_context_459", 5104, 459),
        "voc_2012_test_sem_seg": ("pascal_voc_20", 1449, 255),
        "voc_2012_test_background_sem_seg": ("pascal_voc_20b", 1449, 255),
    }
    assert ADE20K_150[0].classes == load_vocabulary("ade20k_150")
    assert COCO_STUFF_171[1].classes == load_vocabulary("coco_stuff_171")


def test_names_and_folders_are_unique():
    for field, specs in (
        ("name", DATASETS),
        ("label_dir", DATASETS),
        ("image_dir", [spec for spec in DATASETS if not spec.shared_images]),
    ):
        values = [getattr(spec, field) for spec in specs]
        assert len(set(values)) == len(values)


def test_the_background_is_what_comes_after_the_objects():
    register_datasets()
    metadata = MetadataCatalog.get("voc_2012_test_background_sem_seg")
    assert metadata.stuff_classes[:20] == PASCAL_VOC_20[0].classes
    assert metadata.scored_classes == [*PASCAL_VOC_20[0].classes, "background"]


def test_images_in_a_shared_folder_are_those_with_labels(tmp_path):
    [spec] = PASCAL_VOC_20
    write_images(tmp_path / spec.image_dir, "abcd", "jpg")
    for other, names in ((spec, "bd"), (PASCAL_VOC_20B[0], "bcd")):
        write_images(tmp_path / other.label_dir, names, "png")
        records = load_records(other, tmp_path)
        assert [record["file_name"] for record in records] == [
            str(tmp_path / spec.image_dir / f"{name}.jpg") for name in names
        ]
    write_images(tmp_path / spec.label_dir, "e", "png")
    with pytest.raises(FileNotFoundError, match=r"no image for 1 label maps of .*: e"):
        load_records(spec, tmp_path)


def test_records(root, caplog):
    register_datasets(root)
    with caplog.at_level(logging.WARNING):
        records = DatasetCatalog.get(TEST)
    assert records == [
        {
            "file_name": str(root / ADE20K_150[1].image_dir / f"{name}.jpg"),
            "sem_seg_file_name": str(root / ADE20K_150[1].label_dir / f"{name}.png"),
        }
        for name in "abc"
    ]
    assert f"{TEST} has 3 images here, 2000 when complete" in caplog.text


def test_registering_again_changes_nothing(root):
    register_datasets(root)
    function, metadata = DatasetCatalog[TEST], MetadataCatalog.get(TEST)
    register_datasets(str(root))
    assert DatasetCatalog[TEST] is function
    assert MetadataCatalog.get(TEST) is metadata


def test_another_root_takes_over(root, tmp_path):
    register_datasets(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        DatasetCatalog.get(TEST)
    register_datasets(root)
    assert len(DatasetCatalog.get(TEST)) == 3


def test_root_comes_from_argument_environment_or_working_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/data")
    assert datasets_root() == tmp_path / "data"
    assert datasets_root(tmp_path / "mine") == tmp_path / "mine"
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert str(datasets_root()) == "datasets"


@pytest.mark.parametrize("spec", DATASETS, ids=lambda spec: spec.name)
def test_missing_data_names_folder_and_command(spec, tmp_path):
    register_datasets(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        DatasetCatalog.get(spec.name)
    message = str(error.value)
    assert f"the folder {tmp_path / spec.image_dir} is missing" in message
    assert f"{spec.command} --root {tmp_path}" in message
    assert "$DETECTRON2_DATASETS" in message
    for download in spec.downloads:
        assert download.url in message
        assert download.unpack in message


def test_only_what_is_missing_is_to_be_downloaded(tmp_path):
    [spec] = PASCAL_VOC_20
    (tmp_path / spec.image_dir).mkdir(parents=True)
    (tmp_path / spec.source_label_dir).mkdir()
    assert spec.steps(tmp_path) == [f"python datasets/prepare_pascal_voc.py --root {tmp_path}"]
    (tmp_path / spec.source_label_dir).rmdir()
    fetch, unpack, prepare = spec.steps(tmp_path)
    assert fetch.startswith(f"mkdir -p {tmp_path} && wget -c -O {tmp_path}/SegmentationClassAug.zip 'https://")
    assert unpack == f"(cd {tmp_path} && unzip -nq SegmentationClassAug.zip -d VOCdevkit/VOC2012)"
    assert prepare.startswith(spec.command)


def test_unprepared_labels(root):
    for path in (root / ADE20K_150[1].label_dir).iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"annotations_detectron2/validation has no \.png files"):
        load_records(ADE20K_150[1], root)


def test_files_must_pair_up(root):
    (root / ADE20K_150[1].label_dir / "b.png").rename(root / ADE20K_150[1].label_dir / "d.png")
    with pytest.raises(FileNotFoundError) as error:
        load_records(ADE20K_150[1], root)
    assert f"no label map for 1 images of {root / ADE20K_150[1].image_dir}: b" in str(error.value)
    assert f"no image for 1 label maps of {root / ADE20K_150[1].label_dir}: d" in str(error.value)


def test_other_and_hidden_files_are_ignored(root):
    (root / ADE20K_150[1].image_dir / "readme.txt").touch()
    (root / ADE20K_150[1].label_dir / ".1234.partial.png").touch()
    assert [record["file_name"][-5:] for record in load_records(ADE20K_150[1], root)] == ["a.jpg", "b.jpg", "c.jpg"]


def test_groups_become_class_indices(monkeypatch, tmp_path):
    spec = replace(ADE20K_150[1], score_groups={"outside": ("sky", "tree")})
    monkeypatch.setattr(registration, "DATASETS", (spec,))
    register_datasets(tmp_path)
    assert MetadataCatalog.get(spec.name).score_groups == {"outside": [2, 4]}
