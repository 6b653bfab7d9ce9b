import numpy as np
import pytest

from catseg.data.formats import read_dataset
from tests.own_formats import HEIGHT, NAMES, WIDTH, bands, mask, photo, text

YAML = "path: data\ntrain: images/train\nval: images/val\nnames:\n  0: grass\n  1: sofa\n  2: night sky\n"
LEFT = "0 0 0.5 0 0.5 1 0 1"  # the left half, without its class


def masks(root, values, config=""):
    for split in ("train", "val"):
        photo(root / "images" / split / "a.jpg", seed=len(split))
        mask(root / "masks" / split / "a.png", values)
    return text(root / "data.yaml", YAML + config)


def test_masks(tmp_path):
    file = masks(tmp_path / "data", bands(0, 1, 2, 255), "masks_dir: masks\n")
    for path in (file, file.parent):
        data = read_dataset(path)
        assert (data.format, data.vocabulary, data.problems, list(data.splits)) == (
            "ultralytics",
            NAMES,
            (),
            ["train", "val"],
        )
        sample = data.splits["train"][0]
        assert sample.labels.is_label_map
        assert np.array_equal(sample.label_map(), bands(0, 1, 2, 255))


def test_label_mapping(tmp_path):
    mapping = "masks_dir: masks\nlabel_mapping:\n  -1: ignore_label\n  0: ignore_label\n  7: 0\n  8: 1\n  9: 255\n"
    file = masks(tmp_path / "data", bands(0, 7, 8, 9), mapping)
    assert np.array_equal(read_dataset(file).splits["val"][0].label_map(), bands(255, 0, 1, 255))


def test_label_mapping_to_no_class(tmp_path):
    file = masks(tmp_path / "data", bands(0, 7), "masks_dir: masks\nlabel_mapping:\n  7: 5\n")
    with pytest.raises(ValueError, match="label_mapping gives 7 the class 5"):
        read_dataset(file)


def test_label_mapping_of_names(tmp_path):
    file = masks(tmp_path / "data", bands(0, 7), "masks_dir: masks\nlabel_mapping:\n  grass: 0\n")
    with pytest.raises(ValueError, match="label_mapping must have values of masks, whole numbers, got 'grass'"):
        read_dataset(file)


def test_a_missing_mask_is_a_problem(tmp_path):
    file = masks(tmp_path / "data", bands(0, 1), "masks_dir: masks\n")
    photo(tmp_path / "data" / "images" / "train" / "b.jpg")
    assert "1 image has no mask" in read_dataset(file).problems[0]


def test_masks_without_masks_dir_are_taken_with_a_note(tmp_path):
    data = read_dataset(masks(tmp_path / "data", bands(0, 1)))
    assert "masks_dir is not set" in data.notes[0]


def polygons(root, lines, config=YAML):
    for split in ("train", "val"):
        photo(root / "images" / split / "a.jpg", seed=len(split))
        text(root / "labels" / split / "a.txt", "\n".join(lines))
    return text(root / "data.yaml", config)


@pytest.mark.parametrize(
    ("unlabelled", "rest", "count"), [(None, 3, 4), ("ignored", 255, 3), ("other", 3, 4), ("sofa", 1, 3)]
)
def test_polygons(tmp_path, unlabelled, rest, count):
    small_first = ["2 0.1 0.1 0.2 0.1 0.2 0.3 0.1 0.3", f"0 {LEFT}", "", "1 2 -1 2 -1 2 -1"]
    data = read_dataset(polygons(tmp_path / "data", small_first), unlabelled=unlabelled)
    assert len(data.vocabulary) == count
    labels = data.splits["train"][0].label_map()
    assert labels.shape == (HEIGHT, WIDTH)
    assert labels[2, 2] == 2, "smaller shapes are on top"
    assert (labels[:, 0] == 0).all()
    assert (labels[:, -1] == rest).all()


def test_polygons_are_on_the_upright_image(tmp_path):
    file = polygons(tmp_path / "data", [f"1 {LEFT}"])
    photo(file.parent / "images" / "train" / "a.jpg", orientation=6)
    labels = read_dataset(file).splits["train"][0].label_map()
    assert labels.shape == (WIDTH, HEIGHT)
    assert (labels[:, 0] == 1).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", "is a box"),
        ("0 0.5 0.5 0.2", "three corners or more, got 3 coordinates"),
        ("7 0 0 1 0 1 1", "has the class 7"),
        ("0 0 0 100 0 100 100", "outside 0..1"),
        ("grass 0 0 1 0 1 1", "must hold numbers"),
    ],
)
def test_lines_that_are_no_polygons(tmp_path, line, message):
    sample = read_dataset(polygons(tmp_path / "data", [f"1 {LEFT}", line])).splits["train"][0]
    with pytest.raises(ValueError, match=f"line 2 of .*a.txt .*{message}"):
        sample.label_map()


def test_an_image_without_text_file_has_no_object(tmp_path):
    file = polygons(tmp_path / "data", [f"1 {LEFT}"])
    photo(tmp_path / "data" / "images" / "train" / "b.jpg")
    data = read_dataset(file)
    assert "1 image has no text file" in data.warnings[0]
    assert (data.splits["train"][1].label_map() == 3).all()


def test_layout_of_roboflow_and_lists_of_images(tmp_path):
    for split in ("train", "valid"):
        photo(tmp_path / split / "images" / "a.jpg", seed=len(split))
        text(tmp_path / split / "labels" / "a.txt", f"1 {LEFT}")
    text(tmp_path / "val.txt", "./valid/images/a.jpg\n")
    config = "train: ../train/images\nval: val.txt\nnc: 3\nnames: ['grass', 'sofa', 'night sky']\n"
    data = read_dataset(text(tmp_path / "data.yaml", config, "utf-8-sig"))
    assert {split: [sample.name for sample in samples] for split, samples in data.splits.items()} == {
        "train": ["train/images/a"],
        "val": ["valid/images/a"],
    }
    assert (data.splits["val"][0].label_map()[:, 0] == 1).all()


def test_a_path_that_is_not_there(tmp_path):
    file = text(tmp_path / "elsewhere" / "data.yaml", YAML)
    with pytest.raises(FileNotFoundError, match="has the path data, but there is no folder"):
        read_dataset(file)


def test_a_path_of_another_machine_does_not_matter(tmp_path):
    file = masks(tmp_path / "elsewhere", bands(0, 1), "masks_dir: masks\n")
    text(file, file.read_text().replace("path: data", "path: /content/datasets/mine"))
    text(file.with_name("other.yaml"), "a: [")
    assert len(read_dataset(file.parent).splits["train"]) == 1


def test_names_that_yaml_takes_for_truth(tmp_path):
    file = text(tmp_path / "data.yaml", "train: images\nnames: {0: yes, 1: no}\n")
    with pytest.raises(ValueError, match="put such names in quotes"):
        read_dataset(file)


def test_paths_of_windows(tmp_path):
    config = YAML.replace("images/val", "images\\val").replace("images/train", "train.txt")
    file = masks(tmp_path / "data", bands(0, 1), "masks_dir: masks\n")
    text(file, config + "masks_dir: masks\n")
    (tmp_path / "data" / "train.txt").write_bytes(b"images\\train\\a.jpg\r\n")
    data = read_dataset(file)
    assert [(split, sample.name) for split, sample in data.samples] == [
        ("train", "images/train/a"),
        ("val", "images/val/a"),
    ]
    assert data.problems == ()


def test_a_test_split_that_is_not_there_is_left_out(tmp_path):
    data = read_dataset(masks(tmp_path / "data", bands(0, 1), "test: ../test/images\nmasks_dir: masks\n"))
    assert list(data.splits) == ["train", "val"]
    assert "there is no folder or list of images" in data.warnings[0]
    file = masks(tmp_path / "other", bands(0, 1), "masks_dir: masks\n")
    text(file, YAML.replace("images/val", "images/vall"))
    with pytest.raises(FileNotFoundError, match=r"val of .*data\.yaml: there is no folder or list of images .*vall"):
        read_dataset(file)


def test_labels_without_image_and_another_number_of_classes_are_warned_of(tmp_path):
    file = masks(tmp_path / "data", bands(0, 1), "masks_dir: masks\nnc: 5\n")
    mask(tmp_path / "data" / "masks" / "train" / "z.png", bands(0, 1))
    number, unused = read_dataset(file).warnings
    assert number == f"{file} gives nc as 5, but names has 3, which decide"
    assert unused.startswith("1 label file has no image and is left out: ")
    file = polygons(tmp_path / "polygons", [f"1 {LEFT[2:]}"])
    text(tmp_path / "polygons" / "labels" / "train" / "z.txt", "")
    text(tmp_path / "polygons" / "labels" / "train" / "classes.txt", "")
    [unused] = read_dataset(file).warnings
    assert unused.endswith("z.txt")


@pytest.mark.parametrize(
    ("names", "message"),
    [("[grass, no]", "has False as the name of class 1: put such names in quotes"), ("[a: b, c]", "with a colon")],
)
def test_names_that_yaml_reads_as_something_else(tmp_path, names, message):
    photo(tmp_path / "images" / "a.jpg")
    with pytest.raises(ValueError, match=message):
        read_dataset(text(tmp_path / "data.yaml", f"train: images\nmasks_dir: masks\nnames: {names}\n"))
