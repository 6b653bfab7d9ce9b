"""Workers that are actors of Ray Data, on this machine or on all of a cluster."""

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from catseg.batch.extras import optional_module
from catseg.batch.manifest import Row, rows_of, table_of
from catseg.batch.packed_model import unpack_model
from catseg.batch.references import Reference, references_of_table, references_to_table
from catseg.batch.worker import ImageWorker, Work
from catseg.errors import UserError
from catseg.segmenting.results import OutputError

_PIECES_IN_FLIGHT = 2  # of an actor: the one that it does, and the next one


class RayEngine:
    """Runs actors. Ray replaces those that are lost, and hands their pieces of the work to others.

    The cluster is the one that the program is connected to or that RAY_ADDRESS names, else one that is started here.
    """

    def __init__(self, workers: int) -> None:
        """Connect to a cluster, or start one.

        Args:
            workers: actors that there are at most; fewer while the cluster has no room for them.

        Raises:
            RuntimeError: if Ray is not installed.
        """
        self._ray = optional_module("ray", extra="ray", what="--engine ray")
        self._data = optional_module("ray.data", extra="ray", what="--engine ray")
        self.workers = workers
        self._connects = not self._ray.is_initialized()
        if self._connects:
            here: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
            self._ray.init(logging_level=logging.ERROR, log_to_driver=False, **here)
        self._resources = self._ray.cluster_resources()

    def device(self) -> str:
        """Return the device of the workers, where none is asked for: GPUs, if the cluster has some."""
        return "cuda" if self._resources.get("GPU", 0) >= 1 else "cpu"

    def cores(self) -> int:
        """Return the processor threads of each worker."""
        return max(1, int(self._resources.get("CPU", 1)) // self.workers)

    def run(self, work: Work, model: bytes, pieces: Sequence[Sequence[Reference]]) -> Iterator[list[Row]]:
        """Do all pieces of the work: see `Engine`."""
        tables = [references_to_table(piece) for piece in pieces]  # each becomes a block
        weights = self._ray.put(model)
        rows = self._data.from_arrow(tables).map_batches(
            _Actor,
            fn_constructor_args=(work, [weights]),  # in a list, it is fetched when the actor asks for it
            compute=self._data.ActorPoolStrategy(
                min_size=1,
                max_size=self.workers,
                initial_size=self.workers,
                max_tasks_in_flight_per_actor=_PIECES_IN_FLIGHT,
            ),
            batch_size=None,  # a whole block
            batch_format="pyarrow",
            num_cpus=work.cores,
            num_gpus=1 if work.device.startswith("cuda") else 0,
        )
        rows.context.enable_progress_bars = rows.context.print_on_execution_start = False
        try:
            for table in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield rows_of(table)
        except self._ray.exceptions.RayError as error:
            raise _cause(error) from error

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        if self._connects:
            self._ray.shutdown()


class _Actor:
    """A worker as `map_batches` wants it."""

    def __init__(self, work: Work, weights: Sequence[Any]) -> None:
        import ray

        self._worker = ImageWorker(work, unpack_model(ray.get(weights[0]), work.device))

    def __call__(self, table: Any) -> Any:
        return table_of(self._worker.run(references_of_table(table)))


def _cause(error: BaseException) -> BaseException:
    """Return the worker's own error of what Ray made of it, if it is one that the user can mend."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OutputError | UserError | OSError):
            return found
        found = getattr(found, "cause", None) or found.__cause__
    return error
