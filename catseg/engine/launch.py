"""Several processes for one training or evaluation run, on GPUs or on a CPU."""

import gc
import logging
import os
import pickle
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from detectron2.engine import launch as launch_on_gpus
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

FIRST_ERROR = "first"


class RemoteError(Exception):
    """Shows where in another process an error came from: the cause of that error, as it is raised here."""


def launch(
    function: Callable[..., None],
    *,
    num_processes: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    device: str,
    args: tuple[Any, ...] = (),
) -> None:
    """Run a function in `num_processes` processes on this machine, joined to those on the other machines.

    On GPUs this is Detectron2's `launch`, which knows no CPUs. A single process runs right here. What one process
    raises ends the others on this machine, and is raised here.

    Args:
        function: called with `args` in each process; must be importable there.
        num_processes: processes on each machine; on GPUs, one each.
        num_machines: machines, each of which calls this function.
        machine_rank: this machine, 0..num_machines-1.
        dist_url: where the first machine is reached, "tcp://host:port"; "auto" chooses a port on a single machine.
        device: torch device type, "cuda" or "cpu".
        args: arguments of `function`.

    Raises:
        ProcessExitedException: if a process was killed, as the system does when memory runs out.
        BaseException: what `function` raised in the first process to fail, `SystemExit` included.
    """
    world_size = num_machines * num_processes
    if world_size == 1:
        function(*args)
        return
    with tempfile.TemporaryDirectory(prefix="catseg-") as folder:
        reporting = partial(_run_and_report, function, Path(folder))
        try:
            if device == "cpu":
                _launch_on_cpu(reporting, num_processes, num_machines, machine_rank, dist_url, args)
            else:
                launch_on_gpus(reporting, num_processes, num_machines, machine_rank, dist_url, args=args)
        except (ProcessExitedException, ProcessRaisedException) as ended:
            killed = isinstance(ended, ProcessExitedException) and ended.exit_code < 0
            record = Path(folder) / FIRST_ERROR
            if killed or not record.is_file():
                raise
            error, text = pickle.loads(record.read_bytes())
        else:
            return
    raise error from RemoteError(text)


def _launch_on_cpu(
    function: Callable[..., None],
    num_processes: int,
    num_machines: int,
    machine_rank: int,
    dist_url: str,
    args: tuple[Any, ...],
) -> None:
    if dist_url == "auto":
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    torch.multiprocessing.spawn(
        _cpu_process,
        args=(function, machine_rank * num_processes, num_processes, num_machines * num_processes, dist_url, args),
        nprocs=num_processes,
    )


def _cpu_process(
    local_rank: int,
    function: Callable[..., None],
    first_rank: int,
    num_processes: int,
    world_size: int,
    dist_url: str,
    args: tuple[Any, ...],
) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // num_processes))
    torch.distributed.init_process_group(
        "gloo", init_method=dist_url, rank=first_rank + local_rank, world_size=world_size
    )
    function(*args)
    gc.collect()  # models that still refer to the group would otherwise end its threads only with the interpreter
    torch.distributed.destroy_process_group()


def _run_and_report(function: Callable[..., None], folder: Path, *args: Any) -> None:
    """Call a function; leave what it raises in `folder`, unless another process did so before, and end at once.

    Processes that wait for this one fail when it ends: those errors come later than the one that explains them.
    """
    try:
        function(*args)
    except BaseException as error:
        message = traceback.format_exception_only(error)
        text = "".join(traceback.format_exception(error)[: -len(message)])
        own = folder / str(os.getpid())
        with suppress(OSError):  # there is an earlier error, or the parent is gone after Ctrl-C
            own.write_bytes(_pickled(error, text))
            os.link(own, folder / FIRST_ERROR)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # Not by the interpreter's own end, which waits for threads, and these perhaps for the other processes.
        os._exit(1)


def _pickled(error: BaseException, text: str) -> bytes:
    try:
        data = pickle.dumps((error, text))
        pickle.loads(data)  # some exceptions can be written but not read
    except Exception:
        return pickle.dumps((RuntimeError(f"{type(error).__name__}: {error}"), text))
    return data


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
