"""A folder of text features, one file per class name, whose total size is bounded. Several processes may share it."""

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from catseg.atomic import atomic_path
from catseg.errors import InputError

logger = logging.getLogger(__name__)

_SLACK = 16  # the folder is looked through when a process has written this part of its bound, which takes a while
_ABANDONED_AFTER = 3600  # seconds without a change, for files that a process began to write, and for empty folders


class CacheFolder:
    """Reads, writes and removes the files.

    The time of a file is that of its last use by any process. Once all files together exceed the bound, those with the
    earliest time are removed.

    Args:
        folder: is made when the first file is written.
        max_bytes: size of all files together.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._written = (
            max_bytes  # bytes since the folder was looked through; the first file that is written has it done
        )

    def read(self, key: str, name: str) -> Tensor | None:
        """Read the features of a class name; None if there is no file, or with a warning if it is damaged."""
        path = self._path(key, name)
        try:
            content = path.read_bytes()  # at once: another process may replace or remove the file at any time
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            logger.warning("The text features of %r are computed again, since %s: %s", name, path, error)
            return None
        try:
            features = _parse(content, name)
        except (SafetensorError, ValueError, LookupError) as error:
            logger.warning("The text features of %r are computed again, since %s is damaged: %s", name, path, error)
            return None
        with suppress(OSError):  # it was removed just now, or it is somebody else's
            os.utime(path)
        return features

    def write(self, key: str, name: str, features: Tensor) -> None:
        """Write the features of a class name, and remove others if the files get too many.

        Raises:
            OSError: if they cannot be written.
        """
        content = save({"features": features}, metadata={"name": name, "checksum": _checksum(features)})
        with atomic_path(self._path(key, name)) as temporary:
            temporary.write_bytes(content)
        self._written += len(content)
        if self._written > self._max_bytes // _SLACK:
            self._remove_oldest()
            self._written = 0

    def _remove_oldest(self) -> None:
        now = time.time()
        files = sorted(_states(self._folder.glob("*/*")), key=lambda item: item[1].st_mtime)
        excess = sum(state.st_size for _, state in files) - self._max_bytes
        for path, state in files:
            if excess <= 0:
                break
            if path.name.startswith(".") and now - state.st_mtime < _ABANDONED_AFTER:
                continue  # another process is writing it
            with suppress(OSError):  # another process removed it
                path.unlink()
            excess -= state.st_size
        for path, state in _states(self._folder.glob("*")):
            if now - state.st_mtime > _ABANDONED_AFTER:
                with suppress(OSError):  # it is not empty
                    path.rmdir()

    def _path(self, key: str, name: str) -> Path:
        return self._folder / key / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.safetensors"


def _parse(content: bytes, name: str) -> Tensor:
    """Read features from what `CacheFolder.write` wrote for a class name.

    Raises:
        SafetensorError, ValueError, LookupError: if that is not what it wrote.
    """
    features = load(content)["features"]
    header_length = int.from_bytes(content[:8], "little")  # the format of safetensors, which `load` has checked
    metadata = json.loads(content[8 : 8 + header_length]).get("__metadata__", {})
    if metadata.get("name") != name or metadata.get("checksum") != _checksum(features):
        raise InputError("its content is not what was written")
    return features


def _states(paths: Iterator[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    for path in paths:
        with suppress(OSError):  # another process removed it
            yield path, path.stat()


def _checksum(features: Tensor) -> str:
    return str(zlib.crc32(features.view(torch.uint8).numpy().data))
