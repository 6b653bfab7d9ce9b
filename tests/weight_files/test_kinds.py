import gzip
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from catseg.weight_files.kinds import Kind, recognise
from catseg.weight_files.reader import read_checkpoint


def torch_bytes(content, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def tar_bytes(*names):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


def zip_bytes(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return stream.getvalue()


def image_bytes(file_format):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, file_format)
    return stream.getvalue()


def array_bytes(save):
    stream = io.BytesIO()
    save(stream, np.ones(2))
    return stream.getvalue()


WEIGHTS = {"model": {"a": torch.ones(10_000)}}
NOT_WEIGHTS = {
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "a Git LFS pointer, not the weights: git lfs",
    ),
    "annex": (b"/annex/objects/SHA256E-s1--0.pth\n", "a git-annex pointer, not the weights: git annex get"),
    "page": (b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
    "page_with_mark": ("\ufeff<HTML>sign in</HTML>".encode(), "a web page"),
    "xhtml": (b'<?xml version="1.0"?><!DOCTYPE html><html></html>', "a web page"),
    "xml": (
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "XML, such as the error message .*Denied",
    ),
    "json": (b'{"error": "Repository not found"}', "JSON, not weights .*Repository not found"),
    "text": (b"Entry not found", "text, not weights .*Entry not found"),
    "yaml": (b"MODEL:\n  WEIGHTS: model.pth\n", "text, not weights"),
    "empty": (b"", "empty: .*get the file again"),
    "zeros": (bytes(9000), "damaged, for it begins with nothing but zeros"),
    "cut": (torch_bytes(WEIGHTS)[:20_000], "damaged, .* lacks its end"),
    "gzip": (gzip.compress(torch_bytes(WEIGHTS)), "a gzip archive: unpack it"),
    "zip": (zip_bytes("swin.pth", "readme.txt"), "a zip archive of swin.pth, readme.txt: unpack it"),
    "tar": (tar_bytes("swin.pth"), "a tar archive of swin.pth: unpack it"),
    "old_torch": (tar_bytes("sys_info", "pickle", "tensors", "storages"), "a torch file of the format before 0.1.10"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x052.0.0:\xff\x01", "ONNX"),
    "gguf": (b"GGUF\x03\0\0\0", "GGUF"),
    "hdf5": (b"\x89HDF\r\n\x1a\n\0\0", "HDF5, as Keras"),
    "keras": (zip_bytes("config.json", "model.weights.h5"), "a Keras model"),
    "npy": (array_bytes(np.save), "a NumPy array"),
    "npz": (array_bytes(np.savez), "a NumPy archive"),
    "tensorflow": (b"\0\0\4model" + bytes.fromhex("57fb808b247547db"), "a part of a TensorFlow checkpoint"),
    "png": (image_bytes("PNG"), "a PNG image"),
    "jpeg": (image_bytes("JPEG"), "a JPEG image"),
    "webp": (image_bytes("WEBP"), "a WebP image"),
    "noise": (bytes(range(200, 250)) * 9, "of no format that weights are read from"),
}


@pytest.mark.parametrize("suffix", ["pth", "pkl", "safetensors", "bin"])
@pytest.mark.parametrize("name", NOT_WEIGHTS)
def test_what_is_no_file_of_weights_is_named_and_never_unpickled(tmp_path, name, suffix):
    content, message = NOT_WEIGHTS[name]
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"weights\.{suffix} is {message}") as error:
        read_checkpoint(path)
    assert "UNSAFE" not in str(error.value)
    assert "weights_only" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["pth", "pkl", "safetensors", "bin", "ckpt"])
def test_formats_are_told_by_content(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    save_file({"a": torch.ones(2)}, path)
    assert recognise(path) is Kind.SAFETENSORS
    for content, kind in (
        (torch_bytes(WEIGHTS), Kind.TORCH),
        (torch_bytes(WEIGHTS, _use_new_zipfile_serialization=False), Kind.LEGACY_TORCH),
        (pickle.dumps({"a": np.ones(2)}), Kind.PICKLE),
        (pickle.dumps({"a": np.ones(2)}, protocol=0), Kind.PICKLE),
        (json.dumps({"weight_map": {"a": "b.bin"}}).encode(), Kind.SHARDS),
    ):
        path.write_bytes(content)
        assert recognise(path) is kind


def test_compressed_torch_files_are_named(tmp_path):
    with (
        zipfile.ZipFile(io.BytesIO(torch_bytes(WEIGHTS))) as archive,
        zipfile.ZipFile(tmp_path / "again.pth", "w", zipfile.ZIP_DEFLATED) as again,
    ):
        for entry in archive.infolist():
            again.writestr(entry.filename, archive.read(entry))
    with pytest.raises(ValueError, match=r"again\.pth is a torch file that was packed again"):
        read_checkpoint(tmp_path / "again.pth")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["config.json", "pytorch_model.bin", "model.safetensors"], "name the file .*model.safetensors"),
        (
            ["model-00001-of-00002.safetensors", "model.safetensors.index.json"],
            "such as .*model.safetensors.index.json",
        ),
        ([".metadata", "__0_0.distcp"], "dcp_to_torch"),
        (["zero_to_fp32.py", "latest"], "DeepSpeed"),
        (["saved_model.pb"], "TensorFlow SavedModel"),
        (["notes.txt"], "a folder without weights"),
    ],
)
def test_folders_say_what_to_name(tmp_path, names, message):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*gone\.pth"):
        read_checkpoint(tmp_path / "gone.pth")
