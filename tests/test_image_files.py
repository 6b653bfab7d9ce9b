import sys
import types

import numpy as np
import pytest
from PIL import Image, ImageFile

from catseg import image_files
from catseg.image_io import read_image

COLORS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC needs pip install pillow-heif"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a Git LFS pointer, not the image: git lfs pull",
        ),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"", "it is empty"),
    ],
)
def test_what_other_files_are_is_told_by_their_content(tmp_path, content, hint):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.jpg is no image of a kind that can be read \({hint}"):
        read_image(tmp_path / "a.jpg")


class PluginFile(ImageFile.ImageFile):
    """What a Pillow plugin for HEIC reads: an image with EXIF data, of which the decoder turns nothing."""

    format = "HEIF"

    def _open(self):
        exif = Image.Exif()
        exif[0x0112] = 6
        self.info["exif"] = exif.tobytes()
        self._mode, self._size = "RGB", (COLORS.shape[1], COLORS.shape[0])
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 16, "RGB")]


@pytest.fixture
def plugins(monkeypatch):
    """Lets tests install packages that extend Pillow, as modules; what these register is forgotten afterwards."""
    for registry in ("OPEN", "EXTENSION"):
        monkeypatch.setattr(Image, registry, dict(getattr(Image, registry)))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    image_files._load_plugins.cache_clear()
    yield lambda name, module: monkeypatch.setitem(sys.modules, name, module)
    image_files._load_plugins.cache_clear()


def register_plugin():
    Image.register_open("HEIF", PluginFile, lambda start: start[4:12] == b"ftypheic")
    Image.register_extensions("HEIF", [".heic", ".heif"])


def test_images_of_a_plugin_are_turned_once(tmp_path, plugins):
    module = types.ModuleType("pillow_heif")
    module.register_heif_opener = register_plugin
    plugins("pillow_heif", module)
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0" + COLORS.tobytes())
    np.testing.assert_array_equal(read_image(path), np.rot90(COLORS, -1))
    np.testing.assert_array_equal(read_image(path, upright=False), COLORS)
    assert ".heic" in image_files.image_suffixes()
    assert image_files.why_unreadable(path) == ""


def test_a_plugin_that_a_program_registers_late_is_noticed(plugins):
    assert ".heic" not in image_files.image_suffixes()
    register_plugin()
    assert ".heic" in image_files.image_suffixes()


def test_a_plugin_that_does_not_work_is_told(plugins, monkeypatch, caplog):
    def broken(name):
        raise ImportError("libheif.so.1: cannot open shared object file")

    monkeypatch.setattr(image_files.importlib, "import_module", broken)
    assert ".heic" not in image_files.image_suffixes()
    assert ".heic files are not read, pillow_heif cannot be imported: libheif.so.1" in caplog.text


def test_avif_without_support_for_it(tmp_path, plugins):
    Image.EXTENSION.pop(".avif", None)
    reason = "AVIF needs Pillow 11.3 or later, or pip install pillow-avif-plugin"
    assert image_files.why_unreadable(tmp_path / "a.avif") == reason
