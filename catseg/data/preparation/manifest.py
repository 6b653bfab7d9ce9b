"""Checksums of the files that were made, in the format of `sha256sum`.

The manifest of the label maps in `annotations_detectron2/val` is `annotations_detectron2/val.sha256`; its paths are
relative to its folder, where `sha256sum --check val.sha256` verifies them as well.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from catseg.atomic import atomic_path
from catseg.data.dataset_specs import DatasetSpec

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


class Manifest:
    """The checksums of a split's files, on disk and in memory.

    Args:
        spec: the split.
        root: folder of all data sets.

    Attributes:
        path: the file.
        digests: SHA-256 of each file, as in the manifest; empty if there is none.
    """

    def __init__(self, spec: DatasetSpec, root: Path) -> None:
        labels = root / spec.label_dir
        self.path = labels.with_name(f"{labels.name}.sha256")
        self.digests: dict[Path, str] = {}
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
            found = [match for line in lines if (match := _LINE.fullmatch(line))]  # without a line that was cut off
            self.digests = {Path(os.path.normpath(labels.parent / match[2])): match[1] for match in found}

    @contextmanager
    def recording(self) -> Iterator["Manifest"]:
        """Open it for `record`, and sort it when the block ends."""
        self._write()
        try:
            with self.path.open("a", encoding="utf-8") as self._journal:
                yield self
        except BaseException:
            with suppress(OSError):  # the disk may be full; what was recorded is there
                self._write()
            raise
        self._write()

    def record(self, digests: Mapping[Path, str]) -> None:
        """Add files, within `recording`; at once on disk, so that a run that is killed can go on."""
        changed = {path: digest for path, digest in digests.items() if self.digests.get(path) != digest}
        self.digests |= changed
        self._write_lines(self._journal, changed)
        self._journal.flush()

    def checksum(self) -> str:
        """Return one SHA-256 for all files."""
        return hashlib.sha256("".join(sorted(self._lines(self.digests))).encode()).hexdigest()

    def verify(self, *, workers: int) -> list[Path]:
        """Read all files, with a progress bar, and return those that are missing or differ, sorted."""
        files = sorted(self.digests)
        with ThreadPoolExecutor(workers) as pool:
            found = tqdm(pool.map(digest_of, files), total=len(files), unit="file", desc="Checking", mininterval=1)
            return [path for path, digest in zip(files, found, strict=True) if digest != self.digests[path]]

    def _write(self) -> None:
        with atomic_path(self.path) as path, path.open("w", encoding="utf-8") as file:
            self._write_lines(file, dict(sorted(self.digests.items())))

    def _write_lines(self, file: TextIO, digests: Mapping[Path, str]) -> None:
        file.writelines(self._lines(digests))

    def _lines(self, digests: Mapping[Path, str]) -> list[str]:
        folder = self.path.parent
        return [f"{digest}  {Path(os.path.relpath(path, folder)).as_posix()}\n" for path, digest in digests.items()]


def digest_of(path: Path) -> str | None:
    """Return the SHA-256 of a file; None if it is not there or cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
