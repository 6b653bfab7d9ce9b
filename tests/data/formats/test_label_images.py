import unicodedata

import numpy as np
import pytest
from PIL import Image

from catseg.data.formats import read_dataset
from catseg.data.formats.names import read_colours, read_numbers
from tests.own_formats import COLOURS, NAMES, bands, coloured, mask, photo, text


def test_numbers_with_a_list_of_names(tmp_path):
    photo(tmp_path / "images" / "train" / "a b.JPG")
    photo(tmp_path / "images" / "val" / "ünï.png")
    mask(tmp_path / "labels" / "train" / "a b.PNG", bands(0, 1, 2, 255), palette=True)
    mask(tmp_path / "labels" / "val" / "ünï_mask.png", bands(2, 2), bits=16)
    text(tmp_path / "Classes.txt", "\n".join(NAMES), "utf-8-sig")
    data = read_dataset(tmp_path)
    assert (data.format, data.vocabulary, data.ignore_label, data.problems) == ("label-images", NAMES, 255, ())
    [(train, first), (val, second)] = data.samples
    assert (train, first.name, val, second.name) == ("train", "train/a b", "val", "val/ünï")
    assert np.array_equal(first.label_map(), bands(0, 1, 2, 255))
    assert np.array_equal(second.label_map(), bands(2, 2))
    assert first.labels.is_label_map


def test_numbers_that_do_not_begin_at_0_have_gaps_and_void(tmp_path):
    photo(tmp_path / "train" / "images" / "a.png")
    mask(tmp_path / "train" / "masks" / "a.png", bands(1, 7, 9, 255))
    text(tmp_path / "labels.json", '{"9": "void", "1": "grass", "7": ["sofa", "couch"]}')
    data = read_dataset(tmp_path)
    assert data.vocabulary.synonyms == (("grass",), ("sofa", "couch"))
    assert "ignored classes: void" in data.notes
    [(_, sample)] = data.samples
    assert np.array_equal(sample.label_map(), bands(0, 1, 255, 255))
    assert not sample.labels.is_label_map


@pytest.mark.parametrize(
    ("content", "name"),
    [("1: grass\n2: sofa", "classes.txt"), ("id;name\n1;grass\n2;sofa", "classes.csv")],
)
def test_numbered_lists(tmp_path, content, name):
    photo(tmp_path / "images" / "a.png")
    mask(tmp_path / "labels" / "a.png", bands(1, 2))
    text(tmp_path / name, content)
    [(_, sample)] = read_dataset(tmp_path).samples
    assert np.array_equal(sample.label_map(), bands(0, 1))


def test_an_unknown_value_is_listed_with_file_and_count(tmp_path):
    photo(tmp_path / "images" / "a.png")
    mask(tmp_path / "labels" / "a.png", bands(0, 3, 4, 4))
    text(tmp_path / "classes.txt", "\n".join(NAMES))
    [(_, sample)] = read_dataset(tmp_path).samples
    with pytest.raises(ValueError, match=r"a\.png has values that are no class: 4 \(96 pixels\), 3 \(48 pixels\);"):
        sample.label_map()


def test_missing_pairs_are_problems(tmp_path):
    for name in ("a", "b"):
        photo(tmp_path / "images" / f"{name}.png")
    for name in ("a", "c"):
        mask(tmp_path / "labels" / f"{name}.png", bands(0, 1))
    text(tmp_path / "classes.txt", "\n".join(NAMES))
    problems = read_dataset(tmp_path).problems
    assert problems == ("1 image has no label map: b", "1 label map has no image: c")


@pytest.mark.parametrize(
    ("unlabelled", "names", "expected"),
    [
        (None, ["background", "grass", "sofa", "night sky"], (0, 1, 2, 3)),
        ("ignored", ["grass", "sofa", "night sky"], (255, 0, 1, 2)),
        ("other", ["other", "grass", "sofa", "night sky"], (0, 1, 2, 3)),
        ("sofa", ["sofa", "grass", "night sky"], (0, 1, 0, 2)),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "camvid", "json"])
def test_colours(tmp_path, unlabelled, names, expected, kind):
    photo(tmp_path / "images" / "a.jpg")
    coloured(tmp_path / "masks" / "a.png", bands(0, 1, 2, 3), list(COLOURS.values()))
    if kind == "csv":
        rows = "\n".join(f"{name},{r},{g},{b}" for name, (r, g, b) in COLOURS.items())
        text(tmp_path / "class_dict.csv", f"name,r,g,b\n{rows}")
    elif kind == "camvid":
        text(tmp_path / "label_colors.txt", "\n".join(f"{r} {g} {b}\t\t{name}" for name, (r, g, b) in COLOURS.items()))
    else:
        rows = ", ".join(f'"{name}": "#{r:02x}{g:02X}{b:02x}"' for name, (r, g, b) in COLOURS.items())
        text(tmp_path / "colors.json", f"{{{rows}}}")
    data = read_dataset(tmp_path, unlabelled=unlabelled)
    assert (data.format, data.vocabulary) == ("colour-masks", names)
    assert np.array_equal(data.samples[0][1].label_map(), bands(*expected))


def test_an_unknown_colour_is_listed_with_file_and_count(tmp_path):
    photo(tmp_path / "images" / "a.jpg")
    coloured(tmp_path / "masks" / "a.png", bands(0, 1), [(0, 0, 0), (1, 2, 3)])
    text(tmp_path / "colors.txt", "background 0 0 0")
    [(_, sample)] = read_dataset(tmp_path).samples
    with pytest.raises(ValueError, match=r"a\.png has colours that are no class: \(1, 2, 3\) \(96 pixels\)"):
        sample.label_map()


def test_sizes_that_differ(tmp_path):
    photo(tmp_path / "images" / "a.png")
    mask(tmp_path / "labels" / "a.png", bands(0, 1, size=(4, 4)))
    text(tmp_path / "classes.txt", "\n".join(NAMES))
    [(_, sample)] = read_dataset(tmp_path).samples
    with pytest.raises(ValueError, match=r"is 4 x 4 pixels, but its image .* is 16 x 12"):
        sample.label_map()


def test_folders_of_camvid(tmp_path):
    for split in ("train", "val"):
        photo(tmp_path / split / "0001TP_1.png", seed=len(split))
        coloured(tmp_path / f"{split}_labels" / "0001TP_1_L.png", bands(0, 1), [(64, 128, 64), (0, 0, 0)])
    text(tmp_path / "class_dict.csv", "name,r,g,b\nAnimal,64,128,64\nVoid,0,0,0\n")
    data = read_dataset(tmp_path)
    assert (data.vocabulary, list(data.splits), data.problems) == (["Animal"], ["train", "val"], ())
    assert np.array_equal(data.splits["val"][0].label_map(), bands(0, 255))


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("night sky 2 10 20 30", "night sky 2"),
        ("10 20 30\tnight sky 2", "night sky 2"),
        ("lane 2:10,20,30::", "lane 2"),
        ("a: b:10,20,30:left,right:", "a: b"),
    ],
)
def test_lines_of_colours(tmp_path, line, name):
    assert read_colours(text(tmp_path / "colors.txt", f"# comment\nname r g b\n{line}\n")) == [(name, (10, 20, 30))]


def test_lines_without_colours(tmp_path):
    with pytest.raises(ValueError, match=r"line 2 of .*colors\.txt must hold a class name and its colour"):
        read_colours(text(tmp_path / "colors.txt", "sofa 1 2 3\ncat 1 2\n"))


def test_images_and_masks_in_one_folder(tmp_path):
    """Roboflow's "semantic segmentation masks", with a list of the classes in the folder of each split."""
    for split in ("train", "valid"):
        photo(tmp_path / split / "a_png.rf.0f.jpg", seed=len(split))
        mask(tmp_path / split / "a_png.rf.0f_mask.png", bands(0, 1))
        text(tmp_path / split / "_classes.csv", "Pixel Value, Class\n0, background\n1, cat\n")
    data = read_dataset(tmp_path)
    assert (data.format, data.vocabulary, data.problems) == ("label-images", ["background", "cat"], ())
    assert [(split, sample.name) for split, sample in data.samples] == [
        ("train", "train/a_png.rf.0f"),
        ("val", "valid/a_png.rf.0f"),
    ]
    assert np.array_equal(data.samples[1][1].label_map(), bands(0, 1))
    mask(tmp_path / "valid" / "b_mask.png", bands(0, 1))
    photo(tmp_path / "valid" / "c.png")
    assert read_dataset(tmp_path).problems == ("1 image has no label map: c", "1 label map has no image: b_mask")
    text(tmp_path / "valid" / "_classes.csv", "Pixel Value, Class\n0, background\n1, dog\n")
    with pytest.raises(ValueError, match=r"has files that differ: .*_classes\.csv"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/top_2_10_RGB.tif", "labels/top_2_10_label.tif"),  # Potsdam
        ("images/x-ortho.tif", "labels/x-label.png"),  # DroneDeploy
        ("12_sat.jpg", "12_mask.png"),  # DeepGlobe
        ("Train/Rural/images_png/0.png", "Train/Rural/masks_png/0.png"),  # LoveDA
        ("701_StillsRaw_full/a.png", "LabeledApproved_full/a_L.png"),  # CamVid
    ],
)
def test_names_that_data_sets_give(tmp_path, image, label):
    photo(tmp_path / image)
    coloured(tmp_path / label, bands(0, 1), [(255, 255, 255), (0, 0, 255)])
    text(tmp_path / "colors.csv", "name;r;g;b\r\nroad;255;255;255\r\nroof;0;0;255\r\n", "utf-8-sig")
    data = read_dataset(tmp_path)
    assert data.problems == ()
    assert np.array_equal(data.splits["train"][0].label_map(), bands(0, 1))


def test_ade20k_as_its_authors_pack_it(tmp_path):
    photo(tmp_path / "images" / "training" / "a.jpg")
    mask(tmp_path / "annotations" / "training" / "a.png", bands(0, 1, 2, 2))
    lines = "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.1\t11\t2\t1\twall\n2\t0.1\t6\t6\t1\tbuilding, edifice\n"
    text(tmp_path / "objectInfo150.txt", lines)
    data = read_dataset(tmp_path)
    assert data.vocabulary.synonyms == (("wall",), ("building", "edifice"))
    assert np.array_equal(data.splits["train"][0].label_map(), bands(255, 0, 1, 1))


def test_a_name_with_the_separator_is_in_quotes(tmp_path):
    photo(tmp_path / "images" / "a.png")
    mask(tmp_path / "labels" / "a.png", bands(0, 1))
    table = text(tmp_path / "classes.csv", "id,name\n0,grass\n1,sofa, big\n")
    with pytest.raises(ValueError, match=r"is in quotes, got '1,sofa,big'"):
        read_dataset(tmp_path)
    text(table, 'id,name\n0,grass\n1,"sofa, big"\n')
    assert read_dataset(tmp_path).vocabulary == ["grass", "sofa, big"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("colors.txt", "0,road,255,0,0\n1,roof,0,0,255\n"),
        ("colors.csv", "name,color\nroad,#ff0000\nroof,#0000FF\n"),
        (
            "colors.json",
            '[{"name": "road", "color": {"r": 255, "g": 0, "b": 0}}, {"name": "roof", "color": "#0000ff"}]',
        ),
    ],
)
def test_tables_of_colours(tmp_path, name, content):
    assert read_colours(text(tmp_path / name, content)) == [("road", (255, 0, 0)), ("roof", (0, 0, 255))]


def test_transparent_pixels_of_masks_have_the_colour_that_is_stored(tmp_path):
    photo(tmp_path / "images" / "a.jpg")
    colours = np.array([[0, 0, 0, 0], [255, 0, 0, 255]], dtype=np.uint8)
    (tmp_path / "masks").mkdir()
    Image.fromarray(colours[bands(0, 1)]).save(tmp_path / "masks" / "a.png")
    text(tmp_path / "colors.csv", "name,r,g,b\nbackground,0,0,0\nroof,255,0,0\n")
    assert np.array_equal(read_dataset(tmp_path).samples[0][1].label_map(), bands(0, 1))


def test_umlauts_of_a_mac(tmp_path):
    photo(tmp_path / "images" / "Gebäude.jpg")
    mask(tmp_path / "labels" / unicodedata.normalize("NFD", "Gebäude.png"), bands(0, 1))
    text(tmp_path / "classes.txt", "a\nb\n")
    assert read_dataset(tmp_path).problems == ()


def test_lines_that_are_numbered_in_part(tmp_path):
    assert read_numbers(text(tmp_path / "classes.txt", "-1: void\n0: grass\n")) == {-1: "void", 0: "grass"}
    assert read_numbers(text(tmp_path / "classes.txt", "2 wheels\ncar\n")) == {0: "2 wheels", 1: "car"}
    with pytest.raises(ValueError, match="must number all of its lines or none, got 'sofa'"):
        read_numbers(text(tmp_path / "classes.txt", "0: grass\nsofa\n"))


def test_links_that_lead_round_in_a_circle(tmp_path):
    photo(tmp_path / "images" / "a.jpg")
    mask(tmp_path / "labels" / "a.png", bands(0, 1))
    text(tmp_path / "classes.txt", "a\nb\n")
    for folder in ("images", "labels"):
        (tmp_path / folder / "all").symlink_to(tmp_path / folder)
    data = read_dataset(tmp_path)
    assert (data.problems, len(data.samples)) == ((), 1)
