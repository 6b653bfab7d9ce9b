import os
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image

from catseg.data.dataset_specs import ADE20K_847
from catseg.data.preparation.ade20k_full import FullADE20K, new_size
from catseg.data.preparation.jobs import Job
from tests.miniature_benchmarks import make_miniature_ade20k_full

[SPEC] = ADE20K_847
INDEX = "ADE20K_2021_17_01/index_ade20k.pkl"


def write_index(root, content):
    path = root / INDEX
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))


def write_job(folder, shape, numbers):
    rows = np.random.default_rng(0).integers(0, 255, (shape[0] // 8 + 1, shape[1] // 8 + 1, 3), dtype=np.uint8)
    image = np.kron(rows, np.ones((8, 8, 1), dtype=np.uint8))[: shape[0], : shape[1]]
    Image.fromarray(image).save(folder / "image.png")
    colours = np.stack([numbers // 256 * 10 + 5, numbers % 256, numbers % 7], axis=-1).astype(np.uint8)
    Image.fromarray(colours).save(folder / "seg.png")
    job = Job(name="x", image=folder / "image.png", labels=folder / "seg.png", target=folder / "x.tif")
    return job, image


def test_objects_are_read_from_colours(tmp_path):
    truth = make_miniature_ade20k_full(tmp_path, 2)
    jobs = FullADE20K().find(SPEC, tmp_path)
    assert [job.name for job in jobs] == sorted(truth)
    for job in jobs:
        np.testing.assert_array_equal(FullADE20K().make(job).labels, truth[job.name])
        assert job.target.suffix == ".tif"


@pytest.mark.parametrize(
    ("size", "new"),
    [
        ((512, 2000), None),
        ((513, 513), (512, 512)),
        ((600, 901), (512, 769)),
        ((901, 600), (769, 512)),
        ((400, 900), None),
        ((1024, 2000), (512, 1000)),
    ],
)
def test_sizes(size, new):
    assert new_size(*size) == new


def test_large_images_become_smaller(tmp_path):
    numbers = np.random.default_rng(0).choice([2978, 312, 2420, 1, 3148], (700, 530))
    job, image = write_job(tmp_path, (700, 530), numbers)
    made = FullADE20K().make(job)
    assert made.labels.shape == (676, 512)
    assert made.image.shape == (676, 512, 3)
    assert set(np.unique(made.labels)) == {0, 1, 2, 846, 65535}
    expected = cv2.resize(image, (512, 676), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(made.image, expected)


@pytest.mark.parametrize(("orientation", "upright"), [(6, False), (6, True), (3, False)])
def test_images_have_the_rows_and_columns_of_their_labels(tmp_path, orientation, upright):
    job, image = write_job(tmp_path, (60, 80), np.full((60, 80), 2978))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.rot90(image) if upright else image  # orientation 6 turns it back
    Image.fromarray(stored).save(job.image, exif=exif)
    np.testing.assert_array_equal(FullADE20K().make(job).image, image)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_masks_without_colours_are_refused(tmp_path, mode):
    job, _ = write_job(tmp_path, (60, 80), np.full((60, 80), 2978))
    Image.new(mode, (80, 60)).save(job.labels)
    with pytest.raises(ValueError, match=rf"seg\.png: expected a PNG file of colours, got PNG of mode {mode}"):
        FullADE20K().make(job)


def test_deep_images_beside_masks_of_any_palette(tmp_path):
    numbers = np.full((60, 80), 2978)
    job, _ = write_job(tmp_path, (60, 80), numbers)
    expected = FullADE20K().make(job).labels
    Image.fromarray(np.full((60, 80), 40000, np.uint16)).save(job.image)
    with Image.open(job.labels) as mask:
        mask.load()
    mask.convert("P", palette=Image.Palette.ADAPTIVE).save(job.labels)
    made = FullADE20K().make(job)
    np.testing.assert_array_equal(made.labels, expected)
    assert set(np.unique(made.image)) == {156}


def test_every_number_of_the_benchmark_has_its_class(tmp_path):
    numbers = np.arange(6656).reshape(64, 104)
    job, _ = write_job(tmp_path, (64, 104), numbers)
    labels = FullADE20K().make(job).labels
    assert sorted(labels[labels != 65535]) == list(range(847))
    named = {2978: "wall", 312: "building, edifice", 3148: "adding machine, totalizer, totaliser"}
    assert {number: SPEC.classes[labels.flat[number]] for number in named} == named


def test_a_malicious_index_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trace"),)

    write_index(tmp_path, {"folder": [], "filename": [], "scene": Attack()})
    with pytest.raises(ValueError, match=r"index_ade20k\.pkl .* could run code"):
        FullADE20K().find(SPEC, tmp_path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"folder": ["a"]}, "must hold"),
        ({"folder": ["a"], "filename": []}, "must hold"),
        (["a"], "must hold"),
        ({"folder": ["../.."], "filename": ["ADE_val_1.jpg"]}, "below the data sets"),
        ({"folder": ["/etc"], "filename": ["ADE_val_1.jpg"]}, "below the data sets"),
        ({"folder": ["a"], "filename": ["../ADE_val_1.jpg"]}, "below the data sets"),
        ({"folder": ["a"], "filename": ["ADE_val_1.png"]}, "below the data sets"),
    ],
)
def test_an_index_of_another_kind_is_refused(tmp_path, content, message):
    write_index(tmp_path, content)
    with pytest.raises(ValueError, match=rf"index_ade20k\.pkl .*{message}"):
        FullADE20K().find(SPEC, tmp_path)


def test_files_that_do_not_fit_are_refused(tmp_path):
    job, _ = write_job(tmp_path, (60, 80), np.full((50, 80), 2978))
    with pytest.raises(ValueError, match=r"seg\.png must have the size of the image \(60, 80\), got \(50, 80\)"):
        FullADE20K().make(job)
    (tmp_path / "seg.png").write_bytes((tmp_path / "seg.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"seg\.png cannot be decoded"):
        FullADE20K().make(job)
    with pytest.raises(FileNotFoundError, match=r"index_ade20k\.pkl is missing"):
        FullADE20K().find(SPEC, tmp_path)
