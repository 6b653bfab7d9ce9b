"""Folders and files on this machine, or in S3, GCS and whatever else fsspec knows, by one interface."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any

from catseg.atomic import atomic_path
from catseg.batch.extras import optional_module
from catseg.errors import InputError, RunError

_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}


def is_remote(address: str) -> bool:
    """Tell whether an address is one of fsspec's, such as s3://BUCKET/KEY, and not a path."""
    return "://" in address


@contextmanager
def remote_errors(address: str) -> Iterator[None]:
    """Turn what clients of object stores raise, each its own kinds, into an `OSError` that names the address."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"nothing is at {address}") from error
    except Exception as error:
        raise OSError(f"{address}: {type(error).__name__}: {error}") from error


def filesystem(address: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the path in it.

    Raises:
        ValueError: if there is no file system of that kind.
        RuntimeError: if its package is not installed.
    """
    scheme = address.partition("://")[0]
    core = optional_module("fsspec.core", extra="batch", what=f"reading {address}")
    try:
        return core.url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        raise RunError(f"{address} needs {_PACKAGES.get(scheme, 'a package')}: pip install it ({error})") from error
    except ValueError as error:
        raise InputError(f"{address} is on no file system that is known: {error}") from error


def open_file(address: str) -> IO[bytes]:
    """Open a file anywhere for reading.

    Raises:
        FileNotFoundError, OSError: if it cannot be opened.
    """
    if not is_remote(address):
        return Path(address).open("rb")
    files, path = filesystem(address)
    with remote_errors(address):
        return files.open(path, "rb")


def read_file(address: str) -> bytes:
    """Return the content of a file anywhere.

    Raises:
        FileNotFoundError, OSError: if it cannot be read.
    """
    if not is_remote(address):
        return Path(address).read_bytes()
    files, path = filesystem(address)
    with remote_errors(address):
        return bytes(files.cat_file(path))


class Storage:
    """An output folder. Whatever is written to it is whole or absent.

    Attributes:
        address: a path, or an address as fsspec has it.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/") if is_remote(address) else str(Path(address).expanduser().resolve())

    @property
    def is_remote(self) -> bool:
        """Whether it is no folder of this machine."""
        return is_remote(self.address)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError, OSError: if there is none.
        """
        return read_file(self._address(name))

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading. Errors as `read`."""
        return open_file(self._address(name))

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give a path on this machine to write to, whose content becomes the file when the block ends.

        Raises:
            OSError: if it cannot be written.
        """
        if not self.is_remote:
            with atomic_path(self._address(name)) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder, PurePosixPath(name).name)
            yield temporary
            self.upload(temporary, name)

    def write(self, name: str, content: bytes) -> None:
        """Write a small file. Errors as `writing`."""
        with self.writing(name) as path:
            path.write_bytes(content)

    def upload(self, file: Path, name: str) -> None:
        """Copy a file of this machine into a remote folder. Object stores show an object when all of it is there."""
        files, root = self._remote
        with remote_errors(self._address(name)):
            files.put_file(str(file), f"{root}/{name}")

    def exists(self, name: str) -> bool:
        """Tell whether there is such a file."""
        if not self.is_remote:
            return Path(self._address(name)).exists()
        files, root = self._remote
        with remote_errors(self._address(name)):
            return bool(files.exists(f"{root}/{name}"))

    def is_empty(self) -> bool:
        """Tell whether there is nothing in it, or no such folder."""
        if not self.is_remote:
            return next(Path(self.address).glob("*"), None) is None
        files, root = self._remote
        with remote_errors(self.address):
            return not files.exists(root)

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder below this one, sorted; none if there is no such folder."""
        if not self.is_remote:
            return sorted(path.name for path in Path(self._address(folder)).glob("[!.]*"))
        files, root = self._remote
        with remote_errors(self._address(folder)):
            found = files.find(f"{root}/{folder}", maxdepth=1)
        return sorted(PurePosixPath(path).name for path in found)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if not self.is_remote:
            Path(self._address(name)).unlink(missing_ok=True)
            return
        files, root = self._remote
        with remote_errors(self._address(name)):
            files.rm_file(f"{root}/{name}")  # which object stores do not mind if it is not there

    def _address(self, name: str) -> str:
        return f"{self.address}/{name}"

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        return filesystem(self.address)

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address}  # a file system is opened anew in each process
