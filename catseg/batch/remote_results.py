"""Results in an object store."""

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from catseg.api.result import Result
from catseg.batch.storage import Storage
from catseg.segmenting.inputs import InputImage
from catseg.segmenting.results import OutputError, ResultFolder


class RemoteResultFolder(ResultFolder):
    """Writes the results of an image to a folder of this machine, and from there to the storage, its record last."""

    def __init__(self, storage: Storage, kinds: Collection[str], image_format: str) -> None:
        """Name the results. Arguments as of `ResultFolder`."""
        self._scratch = tempfile.TemporaryDirectory(prefix="catseg-")
        super().__init__(Path(self._scratch.name), [], kinds, image_format)
        self._storage = storage
        self._arguments = (storage, tuple(kinds), image_format)

    def save(self, source: InputImage, result: Result) -> dict[str, Any]:
        """Write the results of one image. Arguments, return value and errors as of `ResultFolder.save`."""
        names = [*self._files(source).values(), self._record_file(source).relative_to(self._folder).as_posix()]
        try:
            record = super().save(source, result)
            for name in names:
                self._storage.upload(self._folder / name, name)
        except OSError as error:
            raise OutputError(f"cannot write results: {error}") from error
        finally:
            for name in names:
                (self._folder / name).unlink(missing_ok=True)
        return record

    def _read_record(self, source: InputImage) -> str:
        return self._storage.read(self._record_file(source).relative_to(self._folder).as_posix()).decode()

    def _exists(self, file: str) -> bool:
        return self._storage.exists(file)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._arguments, self._settings)


def _again(arguments: tuple[Any, ...], settings: str) -> RemoteResultFolder:
    """Make in another process what was made in this one, with a folder of its own."""
    made = RemoteResultFolder(*arguments)
    made._settings = settings
    return made
