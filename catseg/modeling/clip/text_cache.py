"""Text features on disk, one small file per class name, shared by all processes of a user.

A file is found by a fingerprint of everything that the features depend on except the class name (weights,
architecture, templates, tokenizer, compute type), and by the class name. Nothing here can stop a run: what cannot be
read is reported as missing, and what cannot be written is kept in memory only.
"""

import hashlib
import json
import logging
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from catseg.atomic import atomic_path, cache_folder

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1  # part of every fingerprint: raise it when the text features are computed or stored differently


def fingerprint(weights: Iterable[tuple[str, Tensor]], settings: Mapping[str, object]) -> str:
    """Hash weights and settings.

    Args:
        weights: named tensors, on any device; their names, types, shapes and bytes count, not their device.
        settings: whatever else the features depend on, in a form that JSON can write.

    Returns:
        32 hexadecimal digits.
    """
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter's lock
        digests = list(pool.map(_describe, sorted(weights, key=lambda item: item[0])))
    content = json.dumps({"format": FORMAT_VERSION, "weights": digests, **settings}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _describe(item: tuple[str, Tensor]) -> str:
    name, tensor = item
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return f"{name} {tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(content).hexdigest()}"


class TextCache:
    """Features of class names: in memory, and on disk if there is a folder.

    Several processes may read and write the same folder at once: a file is written under another name and put in
    place complete.
    """

    def __init__(self, *, folder: str | Path | None = None, memory_size: int = 2048) -> None:
        """Make a cache; nothing is read or written yet.

        Args:
            folder: where the files are, made when the first one is written; None keeps the features in memory only.
            memory_size: how many class names are kept in memory; the least recently used go first.
        """
        self._folder = None if folder is None else Path(folder)
        self._memory_size = memory_size
        self._memory: OrderedDict[tuple[str, str], Tensor] = OrderedDict()
        self._writable = True

    @classmethod
    def default(cls) -> "TextCache":
        """The cache that a user's runs share: folder `text` in $CATSEG_CACHE (by default ~/.cache/catseg)."""
        try:
            return cls(folder=cache_folder("text"))
        except RuntimeError as error:  # a user without a home folder
            logger.warning("Text features are not kept on disk: %s CATSEG_CACHE can name a folder.", error)
            return cls()

    def get(self, key: str, name: str) -> Tensor | None:
        """The features stored for a class name.

        Args:
            key: what `fingerprint` gave.
            name: the class name.

        Returns:
            The tensor given to `put`, on the CPU; None if there is none, or if its file is damaged (with a warning).
        """
        features = self._memory.get((key, name))
        if features is None and self._folder is not None:
            features = _read(_path(self._folder, key, name), name)
        if features is not None:
            self._remember(key, name, features)
        return features

    def put(self, key: str, name: str, features: Tensor) -> None:
        """Store the features of a class name, over any that are there.

        A folder that cannot be written is reported once, as a warning, and not tried again.
        """
        features = features.detach().cpu().contiguous()
        self._remember(key, name, features)
        if self._folder is None or not self._writable:
            return
        try:
            _write(_path(self._folder, key, name), name, features)
        except OSError as error:
            self._writable = False
            logger.warning(
                "Text features are not kept on disk, so the next start computes them again: %s. "
                "Another folder can be chosen with the environment variable CATSEG_CACHE.",
                error,
            )

    def _remember(self, key: str, name: str, features: Tensor) -> None:
        self._memory[key, name] = features
        self._memory.move_to_end((key, name))
        if len(self._memory) > self._memory_size:
            self._memory.popitem(last=False)


def _path(folder: Path, key: str, name: str) -> Path:
    return folder / key / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.safetensors"


def _checksum(features: Tensor) -> str:
    return str(zlib.crc32(features.view(torch.uint8).numpy().data))


def _write(path: Path, name: str, features: Tensor) -> None:
    content = save({"features": features}, metadata={"name": name, "checksum": _checksum(features)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _read(path: Path, name: str) -> Tensor | None:
    """The features in a file; None if there is no file or it does not hold what was written."""
    try:
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            features = file.get_tensor("features").clone()  # else it is a view of the mapped file
        if metadata.get("name") != name or metadata.get("checksum") != _checksum(features):
            raise ValueError("its content is not what was written")
    except (OSError, SafetensorError, ValueError) as error:
        logger.warning("The text features of %r are computed again, since %s is damaged: %s", name, path, error)
        return None
    return features
