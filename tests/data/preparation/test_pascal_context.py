import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from scipy.io import savemat

from catseg.data.dataset_specs import PASCAL_CONTEXT_59, PASCAL_CONTEXT_459
from catseg.data.preparation.jobs import Job
from catseg.data.preparation.pascal_context import ContextAnnotations, ContextLabelMaps
from tests.miniature_benchmarks import make_miniature_context_59, make_miniature_context_459

[SPEC_59] = PASCAL_CONTEXT_59
[SPEC_459] = PASCAL_CONTEXT_459
FOLDER = "VOCdevkit/VOC2010"
ANNOTATIONS = ContextAnnotations(ignore_label=255)


def job_of(folder, labels=None, annotations=None):
    Image.new("RGB", (3, 2)).save(folder / "image.png")
    return Job(name="x", image=folder / "image.png", labels=labels, annotations=annotations, target=folder / "x.png")


def region(category, mask):
    return category, rle.encode(np.asfortranarray(mask, dtype=np.uint8))


def test_regions_are_painted_in_the_order_of_the_file(tmp_path):
    truth = make_miniature_context_59(tmp_path, 2)
    jobs = ANNOTATIONS.find(SPEC_59, tmp_path)
    assert [job.name for job in jobs] == sorted(truth)
    for job in jobs:
        np.testing.assert_array_equal(ANNOTATIONS.make(job).labels, truth[job.name])


def test_every_category_of_the_benchmark_has_its_class(tmp_path):
    # The categories have the numbers of the 459 classes, whose tables are the 59's dining tables.
    categories = {name.replace("table", "diningtable"): k for k, name in enumerate(SPEC_459.classes, 1)}
    for index, name in enumerate(SPEC_59.classes):
        job = job_of(tmp_path, annotations=[region(categories[name], np.ones((2, 3)))])
        assert (ANNOTATIONS.make(job).labels == index).all()
    background = [region(2, np.ones((2, 3))), region(0, [[1, 0, 0], [0, 0, 0]]), region(459, [[0, 0, 0], [0, 0, 1]])]
    labels = ANNOTATIONS.make(job_of(tmp_path, annotations=background)).labels
    assert labels.tolist() == [[255, 0, 0], [0, 0, 255]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "damaged"),
        ("[]", "structure"),
        ({"images": []}, "annos_segmentation"),
        ({"images": [{"image_id": 1, "phase": "val", "file_name": "../a.jpg"}], "annos_segmentation": []}, r"\.\./a"),
    ],
)
def test_bad_annotations_are_refused(tmp_path, content, message):
    path = tmp_path / FOLDER / "trainval_merged.json"
    path.parent.mkdir(parents=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=rf"trainval_merged\.json .*{message}"):
        ANNOTATIONS.find(SPEC_59, tmp_path)


def test_annotations_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no annotation"):
        ANNOTATIONS.make(job_of(tmp_path, annotations=[]))
    with pytest.raises(ValueError, match=r"\(3, 2\), the image .*image\.png has \(2, 3\)"):
        ANNOTATIONS.make(job_of(tmp_path, annotations=[region(2, np.ones((3, 2)))]))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"trainval_merged\.json is missing"):
        ANNOTATIONS.find(SPEC_59, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"pascalcontext_val\.txt is missing"):
        ContextLabelMaps().find(SPEC_459, tmp_path)


def test_label_maps_of_matlab(tmp_path, caplog):
    truth = make_miniature_context_459(tmp_path, 2)
    jobs = ContextLabelMaps().find(SPEC_459, tmp_path)
    assert not caplog.text
    assert [job.name for job in jobs] == sorted(truth)
    for job in jobs:
        np.testing.assert_array_equal(ContextLabelMaps().make(job).labels, truth[job.name])


def test_other_class_names_are_told(tmp_path, caplog):
    make_miniature_context_459(tmp_path, 1)
    path = tmp_path / FOLDER / "labels.txt"
    text = path.read_text().replace("3: airconditioner", "3: Air Conditioner")
    path.write_text(text)
    ContextLabelMaps().find(SPEC_459, tmp_path)
    assert not caplog.text
    path.write_text(text.replace("4: antenna", "4: ashtray"))
    ContextLabelMaps().find(SPEC_459, tmp_path)
    assert "labels.txt calls label 4 'ashtray', in the benchmark it is 'antenna'" in caplog.text


@pytest.mark.parametrize("values", [[[0, 1, 2]] * 2, [[1, 461, 2]] * 2])
def test_unknown_labels_are_refused(tmp_path, values):
    savemat(tmp_path / "x.mat", {"LabelMap": np.array(values, dtype=np.uint16)})
    with pytest.raises(ValueError, match=r"x\.mat has the values .*labels are 1\.\.460"):
        ContextLabelMaps().make(job_of(tmp_path, tmp_path / "x.mat"))


def test_bad_matlab_files_are_refused(tmp_path):
    savemat(tmp_path / "other.mat", {"Other": np.ones((2, 3))})
    (tmp_path / "damaged.mat").write_bytes((tmp_path / "other.mat").read_bytes()[:150])
    for name in ("other", "damaged"):
        with pytest.raises(ValueError, match=rf"{name}\.mat cannot be read"):
            ContextLabelMaps().make(job_of(tmp_path, tmp_path / f"{name}.mat"))


@pytest.mark.parametrize("content", [b"../../etc\n", b"2008 1\n", b"\xff\xfe"])
def test_bad_lists_are_refused(tmp_path, content):
    path = tmp_path / FOLDER / "pascalcontext_val.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"pascalcontext_val\.txt"):
        ContextLabelMaps().find(SPEC_459, tmp_path)
