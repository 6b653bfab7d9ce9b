"""Text features on disk, one small file per class name, shared by all processes of a user.

A file is found by a fingerprint of everything that the features depend on except the class name (weights,
architecture, templates, tokenizer, compute type), and by the class name. Nothing here can stop a run: what cannot be
read is reported as missing, and what cannot be written is kept in memory only.

Memory and disk are bounded, and the least recently used features go first. In the environment, CATSEG_TEXT_CACHE_MIB is
the size of all files together, by default 2048 MiB (8700 class names of ViT-L with 80 templates), and
CATSEG_TEXT_CACHE_MEMORY_MIB the size of the features that a process holds, by default 256 MiB. 0 keeps nothing.
"""

import hashlib
import json
import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from catseg.atomic import cache_folder
from catseg.errors import InputError
from catseg.modeling.clip.cache_folder import CacheFolder

logger = logging.getLogger(__name__)

MEMORY_BYTES, DISK_BYTES = 256 * 2**20, 2048 * 2**20
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
    place complete, and one that another process removed is missing and no more.
    """

    def __init__(
        self, *, folder: str | Path | None = None, memory_bytes: int = MEMORY_BYTES, disk_bytes: int = DISK_BYTES
    ) -> None:
        """Make a cache; nothing is read or written yet.

        Args:
            folder: where the files are, made when the first one is written; None keeps the features in memory only.
            memory_bytes: size of all features in memory.
            disk_bytes: size of all files in the folder. Each process that writes may exceed it by a sixteenth until it
                looks at the folder again.
        """
        self._folder = None if folder is None or not disk_bytes else CacheFolder(Path(folder), disk_bytes)
        self._memory_bytes = memory_bytes
        self._memory: OrderedDict[tuple[str, str], Tensor] = OrderedDict()
        self._used_bytes = 0
        self._writable = True

    @classmethod
    def default(cls) -> "TextCache":
        """The cache that a user's runs share: folder `text` in $CATSEG_CACHE (by default ~/.cache/catseg).

        Raises:
            ValueError: if a size in the environment is no number of MiB.
        """
        memory = _bytes_from_environment("CATSEG_TEXT_CACHE_MEMORY_MIB", MEMORY_BYTES)
        disk = _bytes_from_environment("CATSEG_TEXT_CACHE_MIB", DISK_BYTES)
        try:
            return cls(folder=cache_folder("text"), memory_bytes=memory, disk_bytes=disk)
        except RuntimeError as error:  # a user without a home folder
            logger.warning("Text features are not kept on disk: %s CATSEG_CACHE can name a folder.", error)
            return cls(memory_bytes=memory)

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
            features = self._folder.read(key, name)
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
            self._folder.write(key, name, features)
        except OSError as error:
            self._writable = False
            logger.warning(
                "Text features are not kept on disk, so the next start computes them again: %s. "
                "Another folder can be chosen with the environment variable CATSEG_CACHE.",
                error,
            )

    def _remember(self, key: str, name: str, features: Tensor) -> None:
        earlier = self._memory.pop((key, name), None)
        self._memory[key, name] = features
        self._used_bytes += features.nbytes - (0 if earlier is None else earlier.nbytes)
        while self._used_bytes > self._memory_bytes:
            _, oldest = self._memory.popitem(last=False)
            self._used_bytes -= oldest.nbytes


def _bytes_from_environment(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip()
    if text and not text.isdecimal():
        raise InputError(f"{name} is {text!r}, expected a whole number of MiB")
    return int(text) * 2**20 if text else default
