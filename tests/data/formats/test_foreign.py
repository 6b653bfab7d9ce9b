"""Formats that are known but not read, and folders that lack something, say what to do."""

import json

import pytest

from catseg.data.formats import read_dataset
from tests.own_formats import bands, mask, photo, text

CVAT = '<?xml version="1.0"?>\n<annotations>\n<version>1.1</version><image id="0" name="a.jpg"></image></annotations>'
LABEL_STUDIO = [{"id": 1, "annotations": [], "data": {"image": "a.jpg"}}]
VIA = {"a.jpg12": {"filename": "a.jpg", "size": 12, "regions": []}}
SUPERVISELY = {"classes": [{"title": "cat"}], "tags": []}
MAPILLARY = {"labels": [{"readable": "Bird", "name": "animal--bird"}], "version": "2.0"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("annotations.xml", CVAT, 'is of CVAT\'s own format: export the task as "COCO 1.0"'),
        ("tracks.xml", CVAT.replace("<image", "<track"), "CVAT's format for videos"),
        ("a.xml", "<annotation><object><bndbox/></object></annotation>", "holds boxes of PASCAL VOC, not masks"),
        ("project-1.json", json.dumps(LABEL_STUDIO), "is of Label Studio's own format"),
        ("via.json", json.dumps(VIA), "VGG Image Annotator"),
        ("via_project.json", json.dumps({"_via_img_metadata": VIA}), "VGG Image Annotator"),
        ("meta.json", json.dumps(SUPERVISELY), "is a project of Supervisely"),
        ("config_v2.0.json", json.dumps(MAPILLARY), "is of Mapillary Vistas"),
        ("data.yaml", "names: [a\n", "data.yaml is not YAML"),
        ("data.yaml", "names: [a, b]\n", "neither train nor val"),
    ],
)
@pytest.mark.parametrize("as_folder", [True, False])
def test_what_to_do(tmp_path, name, content, message, as_folder):
    file = text(tmp_path / name, content)
    (tmp_path / "ds0" / "ann").mkdir(parents=True)
    with pytest.raises(ValueError, match=f"no data set of a known format: .*{message}"):
        read_dataset(tmp_path if as_folder else file)


def test_text_that_is_not_utf8(tmp_path):
    text(tmp_path / "data.yaml", "train: images\nnames: [Tür]\n", "latin-1")
    with pytest.raises(ValueError, match=r"data\.yaml is not text in UTF-8"):
        read_dataset(tmp_path)


def test_pairs_without_names(tmp_path):
    photo(tmp_path / "img_dir" / "train" / "a.jpg")
    mask(tmp_path / "ann_dir" / "train" / "a.png", bands(0, 1))
    with pytest.raises(ValueError, match=r"img_dir and .*ann_dir look like images and label images.*: put a list of"):
        read_dataset(tmp_path)


def test_a_data_set_further_in(tmp_path):
    photo(tmp_path / "VOCdevkit" / "VOC2012" / "JPEGImages" / "a.jpg")
    mask(tmp_path / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "a.png", bands(0, 1))
    with pytest.raises(ValueError, match=r"name one of the folders in it: .*VOCdevkit \(voc\)"):
        read_dataset(tmp_path)


def test_polygons_without_data_yaml(tmp_path):
    photo(tmp_path / "images" / "a.jpg")
    text(tmp_path / "labels" / "a.txt", "0 0 0 1 0 1 1")
    text(tmp_path / "classes.txt", "cat\n")
    with pytest.raises(ValueError, match=r"as YOLO has them: write .*data\.yaml with the keys train and val"):
        read_dataset(tmp_path)
