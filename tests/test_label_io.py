import numpy as np
import pytest
from PIL import Image

from catseg.label_io import read_classes, read_label_map

LABELS = np.array([[0, 1, 2], [254, 255, 3]])


@pytest.mark.parametrize(("name", "dtype"), [("a.png", np.uint8), ("a.png", np.uint16), ("a.tif", np.uint16)])
def test_values_are_read_as_written(tmp_path, name, dtype):
    labels = LABELS * (200 if dtype == np.uint16 else 1)
    Image.fromarray(labels.astype(dtype)).save(tmp_path / name)
    read = read_label_map(tmp_path / name)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, labels)


def test_palette_images_give_indices(tmp_path):
    image = Image.fromarray(LABELS.astype(np.uint8))
    image.putpalette(np.random.default_rng(0).integers(0, 255, 768).astype(np.uint8).tobytes())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), LABELS)


def test_classes_are_checked(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(LABELS.astype(np.uint8)).save(path)
    np.testing.assert_array_equal(read_classes(path, num_classes=255, ignore_label=255), LABELS)
    with pytest.raises(ValueError, match=r"a\.png has values that are no class: 3, 254; there are 3 classes, 0\.\.2"):
        read_classes(path, num_classes=3, ignore_label=255)
    with pytest.raises(ValueError, match=r"no class: 254, 255; .* prepared"):
        read_classes(path, num_classes=150, ignore_label=65535)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        read_label_map(tmp_path / "nowhere.png")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"rgb\.png must be a grey or palette image .* \(64, 64, 3\)"):
        read_label_map(tmp_path / "rgb.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "rgb.png").read_bytes()[:2000])
    (tmp_path / "text.png").write_text("no image")
    for name in ("cut.png", "text.png"):
        with pytest.raises(ValueError, match=f"{name} cannot be decoded"):
            read_label_map(tmp_path / name)
