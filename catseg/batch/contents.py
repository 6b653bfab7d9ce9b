"""The bytes behind references, read where they are needed."""

import threading
from typing import Any

import pyarrow.parquet as pq

from catseg.batch.references import Reference
from catseg.batch.storage import is_remote, open_file, read_file
from catseg.errors import InputError


class Contents:
    """Reads images for one worker. Of a Parquet file, one row group is kept, so that its rows are cheap in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[str, int] | None = None
        self._first = 0
        self._values: Any = None

    def read(self, reference: Reference) -> bytes | None:
        """Return an image as its file has it; None for a file of this machine, which is read when it is decoded.

        Raises:
            FileNotFoundError, OSError, ValueError: if it cannot be read.
        """
        if reference.table is not None and reference.row is not None and reference.column is not None:
            with self._lock:
                return self._cell(reference.table, reference.row, reference.column)
        if not is_remote(reference.input):
            return None
        return read_file(reference.input)

    def _cell(self, table: str, row: int, column: str) -> bytes:
        if self._kept is None or self._kept[0] != table or not 0 <= row - self._first < len(self._values):
            self._keep(table, row, column)
        value = self._values[row - self._first].as_py()
        value = value.get("bytes") if isinstance(value, dict) else value  # as Hugging Face's data sets have it
        if not isinstance(value, bytes):
            raise InputError(f"row {row} of {table} holds no bytes in the column {column}")
        return value

    def _keep(self, table: str, row: int, column: str) -> None:
        with open_file(table) as source:
            file = pq.ParquetFile(source)
            first = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if row < first + rows:
                    self._values = file.read_row_group(group, columns=[column]).column(0)
                    self._kept, self._first = (table, group), first
                    return
                first += rows
        raise InputError(f"{table} has no row {row}: it has changed since its rows were listed")
