"""Workers that are processes of this machine."""

import multiprocessing
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from catseg.batch.manifest import Row
from catseg.batch.packed_model import unpack_model
from catseg.batch.references import Reference
from catseg.batch.worker import ImageWorker, Work
from catseg.errors import RunError

_SECONDS_TO_END = 10  # in which a process that is told to end finishes what it writes
_READY = "ready"


class LocalEngine:
    """Runs processes. One that is killed is replaced, and its piece of the work is taken up again."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def device(self) -> str:
        """Return the device of the workers, where none is asked for."""
        return "cuda" if torch.cuda.is_available() else "cpu"

    def cores(self) -> int:
        """Return the processor threads of each worker."""
        return max(1, torch.get_num_threads() // self.workers)

    def run(self, work: Work, model: bytes, pieces: Sequence[Sequence[Reference]]) -> Iterator[list[Row]]:
        """Do all pieces of the work: see `Engine`."""
        waiting, running = iter(pieces), dict[Future[list[Row]], _Worker]()
        with tempfile.TemporaryDirectory(prefix="catseg-") as folder, ThreadPoolExecutor(self.workers) as pool:
            packed = Path(folder, "model")
            packed.write_bytes(model)
            workers = [_Worker(work, packed, index) for index in range(self.workers)]
            idle = workers[:]
            try:
                while True:
                    while idle and (piece := next(waiting, None)) is not None:
                        worker = idle.pop()
                        running[pool.submit(worker.run, piece)] = worker
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        idle.append(running.pop(future))
                        yield future.result()
            finally:
                for worker in workers:
                    worker.stop()

    def close(self) -> None:
        """Do nothing: the processes end with the work."""


class _Worker:
    """One process at a time, a new one after it was killed."""

    def __init__(self, work: Work, packed: Path, index: int) -> None:
        self._arguments = (work, packed, index)
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._busy = self._stopped = False

    def run(self, piece: Sequence[Reference]) -> list[Row]:
        """Have the process do a piece of the work, and its successor, if it is killed: see `Attempts`."""
        self._busy = True
        while not self._stopped:
            try:
                connection = self._connection or self._start()
                connection.send(piece)
                rows: list[Row] = self._answer(connection)
            except (EOFError, ConnectionError):
                self._connection = None
                continue
            self._busy = False
            return rows
        return []

    def stop(self) -> None:
        """End the process, which finishes the files that it writes."""
        self._stopped = True
        if self._process is None or self._connection is None:
            return
        if self._busy:
            self._process.terminate()
        else:
            self._connection.close()
        self._process.join(_SECONDS_TO_END)
        self._process.kill()

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, *self._arguments), daemon=True)
        self._process.start()
        other.close()  # so that the end of the process is seen
        try:
            self._answer(self._connection)
        except (EOFError, ConnectionError):
            self._process.join()
            raise RunError(
                f"a worker ended while it loaded the model, with status {self._process.exitcode}: is there enough "
                "memory for so many --workers?"
            ) from None
        return self._connection

    def _answer(self, connection: Connection) -> Any:
        answer = connection.recv()
        if isinstance(answer, BaseException):
            raise answer
        return answer


def _serve(connection: Connection, work: Work, packed: Path, index: int) -> None:
    """Be a worker, until the other end of the connection is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    count = torch.cuda.device_count()
    device = f"cuda:{index % count}" if work.device == "cuda" and count else work.device
    try:
        worker = ImageWorker(work, unpack_model(packed.read_bytes(), device))
        connection.send(_READY)
        while True:
            connection.send(worker.run(connection.recv()))
    except (EOFError, ConnectionError):  # the run is over
        return
    except Exception as error:
        connection.send(error)
