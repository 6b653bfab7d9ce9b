import errno
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from catseg.visualization import palette, save_image, save_label_png


@settings(max_examples=40, deadline=None)
@given(
    labels=arrays(np.int64, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(-3, 70000)),
    num_classes=st.sampled_from([0, 1, 2, 150, 255, 256, 257, 847, 65535]),
)
def test_label_png_keeps_every_class_number(tmp_path_factory, labels, num_classes):
    path = tmp_path_factory.mktemp("labels") / "labels.png"
    save_label_png(path, labels, num_classes)
    read = np.asarray(Image.open(path)).astype(np.int64)
    known = (labels >= 0) & (labels < num_classes)
    np.testing.assert_array_equal(read[known], labels[known])
    assert set(read[~known].tolist()) <= ({255} if num_classes < 256 else {65535})


def test_256_classes_need_16_bits_only_where_pixels_have_none(tmp_path):
    labels = np.arange(256).reshape(16, 16)
    save_label_png(tmp_path / "full.png", labels, 256)
    assert Image.open(tmp_path / "full.png").mode == "P"
    labels[0, 0] = -1
    save_label_png(tmp_path / "hole.png", labels, 256)
    assert np.asarray(Image.open(tmp_path / "hole.png"))[0, 0] == 65535


def test_label_png_looks_coloured(tmp_path):
    save_label_png(tmp_path / "labels.png", np.array([[0, 3, 255]]), 4)
    with Image.open(tmp_path / "labels.png") as image:
        colors = np.asarray(image.convert("RGB"))[0]
    np.testing.assert_array_equal(colors, [*palette(4)[[0, 3]], (128, 128, 128)])
    save_label_png(tmp_path / "labels.png", np.array([[1]]), 2, [(1, 2, 3), (4, 5, 6)])
    with Image.open(tmp_path / "labels.png") as image:
        assert np.asarray(image.convert("RGB")).tolist() == [[[4, 5, 6]]]


@pytest.mark.parametrize(
    ("labels", "num_classes", "name", "message"),
    [
        (np.zeros((2, 2)), 3, "a.png", "of float64"),
        (np.zeros((0, 2), int), 3, "a.png", r"got \(0, 2\)"),
        (np.zeros(3, int), 3, "a.png", r"got \(3,\)"),
        (np.zeros((2, 2), int), 65536, "a.png", "got 65536"),
        (np.zeros((2, 2), int), 3, "a.jpg", r"is a \.png file, got .*a\.jpg"),
    ],
)
def test_label_png_errors(tmp_path, labels, num_classes, name, message):
    with pytest.raises(ValueError, match=message):
        save_label_png(tmp_path / name, labels, num_classes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "webp"])
def test_save_image(tmp_path, suffix):
    drawing = np.full((20, 30, 3), (200, 100, 50), dtype=np.uint8)
    path = tmp_path / "new" / f"a.{suffix}"
    save_image(path, drawing)
    with Image.open(path) as image:
        np.testing.assert_allclose(np.asarray(image.convert("RGB")).astype(int), drawing, atol=4)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_save_image_errors(tmp_path):
    drawing = np.zeros((2, 2, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"\.xyz is no image format; use \.png or \.jpg"):
        save_image(tmp_path / "a.xyz", drawing)
    with pytest.raises(ValueError, match="no suffix is no image format"):
        save_image(tmp_path / "a", drawing)
    with pytest.raises(ValueError, match="JPEG cannot hold an image of 70000 x 1"):
        save_image(tmp_path / "a.jpg", np.zeros((1, 70000, 3), dtype=np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_earlier_image(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_image(path, np.zeros((2, 2, 3), dtype=np.uint8))
    before = path.read_bytes()

    def write_some(self, data):
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_some)
    with pytest.raises(OSError, match="No space left"):
        save_image(path, np.ones((2, 2, 3), dtype=np.uint8))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
