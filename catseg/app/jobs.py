"""Work that takes a while: one piece at a time, in stages, with an end that can be brought about."""

import time
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Generic, TypeVar

from catseg.errors import RunError

T = TypeVar("T")

_GLANCE = 0.2  # seconds between two looks at a job


class Job(Generic[T]):
    """One piece of work, which says at which stage it is and stops between two stages when nobody waits for it."""

    def __init__(self, work: Callable[["Job[T]"], T], pool: ThreadPoolExecutor, seconds: float) -> None:
        """Begin, as soon as a thread is free.

        Args:
            work: is called in a thread, with this job.
            pool: gives the thread.
            seconds: that it may take, waiting for a thread included.
        """
        self._stage = "Waiting for the model"
        self._stopped = False
        self._seconds = seconds
        self._start = time.monotonic()
        self._future: Future[T] = pool.submit(work, self)

    def stage(self, text: str) -> None:
        """Say what comes next.

        Raises:
            CancelledError: if the job was stopped.
        """
        if self._stopped:
            raise CancelledError
        self._stage = text

    def stop(self) -> None:
        """Let the work end where its stage does."""
        self._stopped = True
        self._future.cancel()

    def follow(self) -> Generator[str, None, T]:
        """Yield the stage of the work again and again, and return what it does. Whoever stops to follow stops the job.

        Raises:
            RuntimeError: if it takes too long.
            Exception: of the work.
        """
        try:
            while True:
                yield self._stage
                try:
                    return self._future.result(timeout=_GLANCE)
                except FutureTimeoutError:
                    if self._future.done():  # an error of the work itself
                        raise
                if time.monotonic() - self._start > self._seconds:
                    raise RunError(
                        f"not done after {self._seconds:g} seconds, this server's limit: try fewer names, a smaller "
                        "image, or later again"
                    )
        finally:
            self.stop()
