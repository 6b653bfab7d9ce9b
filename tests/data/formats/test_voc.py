import numpy as np
import pytest

from catseg.data.formats import read_dataset
from catseg.data.formats.label_files import voc_colours
from tests.own_formats import COLOURS, bands, coloured, mask, photo, text


def voc(root, **files):
    for name, (split, values) in files.items():
        photo(root / "JPEGImages" / f"{name}.jpg", seed=len(name))
        mask(root / "SegmentationClass" / f"{name}.png", values, palette=True)
        with (root / "lists").open("a") as lists:
            lists.write(f"{split} {name}\n")
    for split in {split for split, _ in files.values()}:
        names = [name for name, (own, _) in files.items() if own == split]
        text(root / "ImageSets" / "Segmentation" / f"{split}.txt", "\n".join(names) + "\n")
    return root


def test_palette_of_voc():
    assert voc_colours()[:4] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
    assert (voc_colours()[255], voc_colours()[8]) == ((224, 224, 192), (64, 0, 0))


def test_pascal_voc(tmp_path):
    voc(tmp_path / "VOC2012", a=("train", bands(0, 1, 20, 255)), bb=("val", bands(0, 2)))
    text(tmp_path / "VOC2012" / "ImageSets" / "Segmentation" / "trainval.txt", "a\nbb\n")
    data = read_dataset(tmp_path)
    assert (data.format, len(data.vocabulary), data.vocabulary[1]) == ("voc", 21, "aeroplane")
    assert (list(data.splits), data.problems) == (["train", "val"], ())
    assert np.array_equal(data.splits["train"][0].label_map(), bands(0, 1, 20, 255))
    ignored = read_dataset(tmp_path, unlabelled="ignored")
    assert len(ignored.vocabulary) == 20
    assert np.array_equal(ignored.splits["train"][0].label_map(), bands(255, 0, 19, 255))


def test_masks_that_lost_their_palette_are_read_by_colour(tmp_path):
    voc(tmp_path, a=("train", bands(0, 1)))
    coloured(tmp_path / "SegmentationClass" / "a.png", bands(0, 1, 2, 2), voc_colours()[:3])
    assert np.array_equal(read_dataset(tmp_path).samples[0][1].label_map(), bands(0, 1, 2, 2))


def test_lists_that_name_what_is_not_there(tmp_path):
    voc(tmp_path, a=("train", bands(0, 1)), b=("train", bands(0, 1)), c=("val", bands(0, 1)))
    (tmp_path / "JPEGImages" / "b.jpg").unlink()
    (tmp_path / "SegmentationClass" / "c.png").unlink()
    assert read_dataset(tmp_path).problems == (
        "1 image of the lists has no image file: b",
        "1 image of the lists has no mask: c",
    )


def test_two_data_sets_in_one_folder(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        voc(tmp_path / year, a=("train", bands(0, 1)))
    with pytest.raises(ValueError, match="holds several data sets"):
        read_dataset(tmp_path)


def cvat(root, order):
    photo(root / "JPEGImages" / "sub" / "a 1.jpg")
    names = ["background", "night sky", "sofa"]  # by number in the mask, unlike in the file
    coloured(root / "SegmentationClass" / "sub" / "a 1.png", bands(0, 1, 2, 2), [COLOURS[name] for name in names])
    text(root / "ImageSets" / "Segmentation" / "default.txt", "sub/a 1\n")
    lines = [f"{name}:{','.join(map(str, COLOURS[name]))}::" for name in order]
    text(root / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n")
    return read_dataset(root)


@pytest.mark.parametrize("order", [["sofa", "background", "night sky"], ["background", "night sky", "sofa"]])
def test_cvat_goes_by_colour(tmp_path, order):
    data = cvat(tmp_path, order)
    assert (data.format, data.vocabulary, data.problems) == ("cvat", order, ())
    labels = data.samples[0][1].label_map()
    assert [data.vocabulary[label] for label in labels[0, ::4]] == ["background", "night sky", "sofa", "sofa"]


def test_cvat_without_background_in_the_list(tmp_path):
    data = cvat(tmp_path, ["sofa", "night sky"])
    assert np.array_equal(data.samples[0][1].label_map(), bands(255, 1, 0, 0))


def test_cvat_without_images(tmp_path):
    cvat(tmp_path, ["sofa", "night sky"])
    (tmp_path / "JPEGImages").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="export with images"):
        read_dataset(tmp_path)


def test_one_colour_for_two_classes(tmp_path):
    cvat(tmp_path, ["sofa", "night sky"])
    text(tmp_path / "labelmap.txt", "sofa:1,2,3::\nnight sky:1,2,3::\n")
    with pytest.raises(ValueError, match="to both 'sofa' and 'night sky'"):
        read_dataset(tmp_path)


def test_a_test_split_without_masks_is_left_out(tmp_path):
    voc(tmp_path, a=("train", bands(0, 1)), b=("test", bands(0, 1)))
    (tmp_path / "SegmentationClass" / "b.png").unlink()
    data = read_dataset(tmp_path)
    assert (list(data.splits), data.problems) == (["train"], ())
    assert "1 images of the test split are left out: they have no masks" in data.notes
