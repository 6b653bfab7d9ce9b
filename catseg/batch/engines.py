"""What runs the workers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from catseg.batch.local_engine import LocalEngine
from catseg.batch.manifest import Row
from catseg.batch.ray_engine import RayEngine
from catseg.batch.references import Reference
from catseg.batch.worker import Work
from catseg.errors import InputError

ENGINES: dict[str, Callable[[int], "Engine"]] = {"local": LocalEngine, "ray": RayEngine}


class Engine(Protocol):
    """Runs workers.

    Attributes:
        workers: how many.
    """

    workers: int

    def device(self) -> str:
        """Return the device of the workers, where none is asked for."""

    def cores(self) -> int:
        """Return the processor threads of each worker."""

    def run(self, work: Work, model: bytes, pieces: Sequence[Sequence[Reference]]) -> Iterator[list[Row]]:
        """Do all pieces of the work.

        Args:
            work: what the workers are told.
            model: of `pack_model`.
            pieces: of the work.

        Yields:
            The rows of each piece when it is done.

        Raises:
            OutputError, OSError: if nothing can be written.
            RuntimeError: if a worker cannot be started.
        """

    def close(self) -> None:
        """Let go of what the workers ran on."""


def make_engine(name: str, workers: int) -> Engine:
    """Return an engine.

    Args:
        name: one of `ENGINES`.
        workers: that it runs.

    Raises:
        ValueError: if there is no such engine, or no worker.
        RuntimeError: if it needs a package that is not installed.
    """
    if name not in ENGINES:
        raise InputError(f"no engine is called {name!r}: there are {', '.join(ENGINES)}")
    if workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")
    return ENGINES[name](workers)
