"""What became of each image: a table that grows in parts.

The manifest is a mapping from an image to its row. Each part is what one worker made of one piece of the work, in a
file that is named by the run and by that piece: a piece that is done twice, because its worker was killed, writes the
same file again. Parts are merged at the beginning and at the end of a run, a later run's row in place of an earlier
one's, into one file that is replaced whole. A run that is cut short while it merges leaves parts that are merged again.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from catseg.batch.storage import Storage

MANIFEST, PARTS = "manifest.parquet", ".catseg/parts"

SCHEMA = pa.schema(
    [
        pa.field("input", pa.string(), nullable=False),
        pa.field("outputs", pa.map_(pa.string(), pa.string())),
        pa.field("shares", pa.map_(pa.string(), pa.float64())),
        pa.field("seconds", pa.float64()),
        pa.field("error", pa.string()),
        pa.field("settings", pa.string()),
    ]
)


class Row(TypedDict):
    """What became of one image.

    Attributes:
        input: its path or address.
        outputs: from kind to file, relative to the output folder; none if there is an error.
        shares: from class to its share of the pixels, 0..1.
        seconds: of its worker's time; 0 if an earlier run had done it.
        error: why there are no results; None if there are.
        settings: fingerprint of what the results depend on.
    """

    input: str
    outputs: dict[str, str]
    shares: dict[str, float]
    seconds: float
    error: str | None
    settings: str


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Return rows as a table."""
    lists = [{**row, "outputs": [*row["outputs"].items()], "shares": [*row["shares"].items()]} for row in rows]
    return pa.Table.from_pylist(lists, schema=SCHEMA)


def rows_of(table: pa.Table) -> list[Row]:
    """Return a table as rows."""
    return [
        Row(**{**row, "outputs": dict(row["outputs"]), "shares": dict(row["shares"])})  # type: ignore[typeddict-item]
        for row in table.to_pylist()
    ]


class Manifest:
    """The manifest in an output folder."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def next_run(self) -> int:
        """Return the number of a run that begins: later than that of every part."""
        return max((int(name.split("-")[0]) for name in self._parts()), default=0) + 1

    def add(self, run: int, piece: str, rows: Sequence[Row]) -> None:
        """Write what became of a piece of the work; in place of what an earlier attempt of this run wrote.

        Args:
            run: number of the run.
            piece: name of the piece.
            rows: of all of its images.

        Raises:
            OSError: if the part cannot be written.
        """
        with self._storage.writing(f"{PARTS}/{run:06d}-{piece}.parquet") as path:
            pq.write_table(table_of(rows), path, compression="zstd")

    def finished(self) -> dict[str, str]:
        """Return the images that have results, each with the fingerprint of what these depend on; once merged."""
        if not self._storage.exists(MANIFEST):
            return {}
        found: dict[str, str] = {}
        for batch in self._batches(MANIFEST, columns=["input", "error", "settings"]):
            columns = (batch.column(name).to_pylist() for name in ("input", "error", "settings"))
            found.update((image, settings) for image, error, settings in zip(*columns, strict=True) if error is None)
        return found

    def merge(self) -> None:
        """Merge the parts into the one file. Rows go through memory some at a time, but for the images' names.

        Raises:
            OSError: if it cannot be written; the parts are then kept.
        """
        parts = self._parts()
        if not parts:
            return
        files = [f"{PARTS}/{name}" for name in reversed(parts)]  # the latest run first
        files += [MANIFEST] if self._storage.exists(MANIFEST) else []
        seen: set[str] = set()
        with self._storage.writing(MANIFEST) as path, pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
            for file in files:
                for batch in self._batches(file):
                    new = [image not in seen for image in batch.column("input").to_pylist()]
                    kept = batch.filter(pa.array(new, pa.bool_()))
                    seen.update(kept.column("input").to_pylist())
                    writer.write_batch(kept)
        for name in parts:
            self._storage.remove(f"{PARTS}/{name}")

    def _parts(self) -> list[str]:
        return [name for name in self._storage.names(PARTS) if name.endswith(".parquet")]

    def _batches(self, file: str, columns: Sequence[str] | None = None) -> Iterator[Any]:
        with ExitStack() as stack:
            source = stack.enter_context(self._storage.open(file))
            yield from pq.ParquetFile(source).iter_batches(columns=columns)
