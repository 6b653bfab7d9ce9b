"""What a file is, by its content and whatever its name: a format of weights, or something else that is named."""

import enum
import json
import pickletools
import tarfile
import zipfile
from pathlib import Path

from catseg.errors import InputError

START = 4096  # bytes at the beginning of a file that tell what it is
_AGAIN = "the download or copy broke off, get the file again"
_UNPACK = "unpack it and name the file of weights in it"
_OTHER_FRAMEWORK = "convert it to a PyTorch checkpoint first"


class Kind(enum.Enum):
    """Formats that weights are read from."""

    SAFETENSORS = "safetensors"
    SHARDS = "the index of a checkpoint in several files"
    TORCH = "a torch file"
    LEGACY_TORCH = "a torch file of the format before 1.6"
    TORCHSCRIPT = "TorchScript"
    PICKLE = "a pickle"


# Offset, bytes there, what the file is, what to do.
_MAGIC = (
    (0, b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the weights", "git lfs pull"),
    (0, b"/annex/objects/", "a git-annex pointer, not the weights", "git annex get"),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5, as Keras writes it", _OTHER_FRAMEWORK),
    (0, b"GGUF", "GGUF, as llama.cpp uses it", "get the PyTorch or safetensors file that it was made from"),
    (0, b"\x93NUMPY", "a NumPy array (.npy)", _OTHER_FRAMEWORK),
    (4, b"TFL3", "a TensorFlow Lite model", _OTHER_FRAMEWORK),
    (0, b"MATLAB", "a MATLAB file", _OTHER_FRAMEWORK),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", "name a checkpoint"),
    (0, b"\xff\xd8\xff", "a JPEG image", "name a checkpoint"),
    (0, b"GIF8", "a GIF image", "name a checkpoint"),
    (8, b"WEBP", "a WebP image", "name a checkpoint"),
    (0, b"II*\0", "a TIFF image", "name a checkpoint"),
    (0, b"MM\0*", "a TIFF image", "name a checkpoint"),
    (0, b"%PDF-", "a PDF document", "name a checkpoint"),
    (0, b"\x7fELF", "a program or library", "name a checkpoint"),
)
_TENSORFLOW_INDEX_END = bytes.fromhex("57fb808b247547db")
_LEGACY_TORCH = bytes.fromhex("6cfc9c46f9206aa85019")  # torch's magic number, which is the first thing pickled


def recognise(path: Path) -> Kind:
    """Tell which format of weights a file has.

    Args:
        path: a local file.

    Raises:
        FileNotFoundError: if nothing is there.
        ValueError: if it has none of them, or breaks off; the message says what it is and what to do.
    """
    if path.is_dir():
        raise InputError(f"{path} {describe_folder(path)}")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(START)
            file.seek(max(0, size - 8))
            end = file.read(8)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}: check the path") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    found = _recognise(path, start, end)
    if isinstance(found, Kind):
        return found
    raise InputError(f"{path} is {found}")


def describe_folder(folder: Path) -> str:
    """Say what a folder that was named in place of a file holds, and what to do."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    if ".metadata" in names and any(name.endswith(".distcp") for name in names):
        return (
            "is a checkpoint of torch.distributed in parts: join them by "
            f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} model.pth"
        )
    if "zero_to_fp32.py" in names:
        return f"is a checkpoint of DeepSpeed in parts: join them by its own {folder / 'zero_to_fp32.py'}"
    if "saved_model.pb" in names:
        return f"is a TensorFlow SavedModel: {_OTHER_FRAMEWORK}"
    suffixes = (".safetensors", ".index.json", ".bin", ".pth", ".pt", ".pkl")
    weights = sorted((name for name in names if name.endswith(suffixes)), key=_preference)
    if not weights:
        return "is a folder without weights: name the file of weights"
    return f"is a folder: name the file of weights in it, such as {folder / weights[0]}"


def _preference(name: str) -> int:
    if name.endswith(".index.json"):
        return 0
    return 1 if name.endswith(".safetensors") else 2


def _recognise(path: Path, start: bytes, end: bytes) -> Kind | str:
    """Tell the format, or say what the file is instead and what to do."""
    if not start:
        return f"empty: {_AGAIN}"
    if start.startswith(b"PK"):
        return _recognise_zip(path)
    if _starts_as_safetensors(start):
        return Kind.SAFETENSORS
    if start[0] == 0x80 and start[1:2] <= b"\x05":
        return Kind.LEGACY_TORCH if _LEGACY_TORCH in start[:40] else Kind.PICKLE
    for offset, magic, what, advice in _MAGIC:
        if start[offset:].startswith(magic):
            return f"{what}: {advice}"
    if start[257:262] == b"ustar":
        return _describe_tar(path)
    if end == _TENSORFLOW_INDEX_END or ".data-0000" in path.name:
        return f"a part of a TensorFlow checkpoint: {_OTHER_FRAMEWORK}"
    return f"ONNX: {_OTHER_FRAMEWORK}" if _starts_as_onnx(start) else _recognise_text(path, start)


def _starts_as_safetensors(start: bytes) -> bool:
    return start[8:9] == b"{" and 0 < int.from_bytes(start[:8], "little") < 1 << 40


def _starts_as_onnx(start: bytes) -> bool:
    """Tell whether a protocol buffer begins with a small version number and the name of what produced it."""
    return start[:1] == b"\x08" and b"\0" < start[1:2] < b"\x20" and start[2:3] in (b"\x12", b"\x1a", b"\x3a")


def _recognise_zip(path: Path) -> Kind | str:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return f"damaged, for it begins as torch files do but lacks its end: {_AGAIN}"
    names = [entry.filename for entry in entries]
    inner = {name.partition("/")[2] for name in names}
    if "data.pkl" in inner:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries if "/data/" in entry.filename):
            return "a torch file that was packed again with compression: save it by torch.save, as it was"
        return Kind.TORCHSCRIPT if "constants.pkl" in inner else Kind.TORCH
    if names and all(name.endswith(".npy") for name in names):
        return f"a NumPy archive (.npz): {_OTHER_FRAMEWORK}"
    if any(name.endswith("model.weights.h5") for name in names):
        return f"a Keras model: {_OTHER_FRAMEWORK}"
    if any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in names):
        return "a program of torch.export: save the state_dict() of the model that it was made from"
    return f"a zip archive of {_few(names)}: {_UNPACK}"


def _describe_tar(path: Path) -> str:
    try:
        with tarfile.open(path) as archive:
            names = archive.getnames()
    except (tarfile.TarError, OSError, EOFError):
        return f"a tar archive that is damaged: {_AGAIN}"
    if {"storages", "tensors", "pickle"} <= set(names):
        return "a torch file of the format before 0.1.10: read it with torch.load in torch 0.4 and save it again"
    return f"a tar archive of {_few(names)}: {_UNPACK}"


def _recognise_text(path: Path, start: bytes) -> Kind | str:
    if not start.strip(b"\0"):
        return f"damaged, for it begins with nothing but zeros: {_AGAIN}"
    text = start.decode("utf-8-sig", errors="ignore").strip()
    begin = " ".join(text.split())[:60]
    lower = text.lower()
    if lower.startswith(("<!doctype html", "<html")) or "<html" in lower[:1000]:
        return "a web page: the link leads to a page, not to the file itself, or asks to log in first"
    if text.startswith("<?xml") or lower.startswith("<error"):
        return f"XML, such as the error message of a server ({begin!r}): get the file again"
    if text.startswith(("{", "[")):
        found = _recognise_json(path, begin)
        if found is not None:
            return found
    if _is_pickle_of_old_protocol(path):
        return Kind.PICKLE
    if _is_text(start):
        return f"text, not weights ({begin!r}): name a checkpoint"
    return (
        f"of no format that weights are read from, it begins with {start[:8]!r}: expected is a file of torch.save, "
        "safetensors, or a pickle of arrays"
    )


def _recognise_json(path: Path, begin: str) -> Kind | str | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    if isinstance(content, dict) and isinstance(content.get("weight_map"), dict):
        return Kind.SHARDS
    return f"JSON, not weights ({begin!r}): name a checkpoint"


def _is_pickle_of_old_protocol(path: Path) -> bool:
    """Tell whether a file without the mark of newer protocols is a pickle, without making what it holds."""
    try:
        with path.open("rb") as file:
            for _, _, _ in pickletools.genops(file):
                pass
            return file.tell() > 2 and not file.read(1)
    except Exception:  # whatever does not parse
        return False


def _is_text(start: bytes) -> bool:
    try:
        text = start[: start.rfind(b"\n") + 1 or len(start)].decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + f" and {len(names) - 3} more" * (len(names) > 3) or "nothing"
