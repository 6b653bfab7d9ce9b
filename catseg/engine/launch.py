"""Several processes for one training or evaluation run, on GPUs or on a CPU: started here, or by a launcher."""

import gc
import logging
import os
import pickle
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed
from detectron2.engine import launch as launch_on_gpus
from detectron2.utils import comm
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from catseg.console import INTERRUPTED
from catseg.engine.started_processes import Meeting, own_gpu

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


def run_joined(function: Callable[..., None], meeting: Meeting, *, device: str, args: tuple[Any, ...] = ()) -> None:
    """Run a function in this process, which a launcher has started, joined to the others.

    What it raises is shown, and ends the process at once.

    Args:
        function: called with `args`.
        meeting: of all processes.
        device: torch device type, "cuda" or "cpu".
        args: arguments of `function`.

    Raises:
        ValueError: if there are fewer GPUs than processes.
    """
    if device != "cpu":
        torch.cuda.set_device(own_gpu(meeting.process))
    try:
        _join(
            "gloo" if device == "cpu" else "nccl",
            rank=meeting.process.rank,
            machines=meeting.machines,
            store=torch.distributed.PrefixStore("group", meeting.store),
        )
        function(*args)
    except BaseException as error:
        _end(_show(error))
    _leave()


def _show(error: BaseException) -> int:
    """Show an error as Python does, and return the exit status that it gives."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
        return 1
    if isinstance(error.code, str):
        sys.stderr.write(f"{error.code}\n")
        return 1
    return error.code or 0


def _end(status: int) -> NoReturn:
    """End this process, not by the interpreter's own end: that waits for threads, and these perhaps for others."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _join(backend: str, *, rank: int, machines: Sequence[Sequence[int]], **where: Any) -> None:
    """Join the group of all processes, and the one of this machine, as Detectron2's `launch` does it on GPUs."""
    torch.distributed.init_process_group(backend, rank=rank, world_size=sum(map(len, machines)), **where)
    for ranks in machines:
        group = torch.distributed.new_group(ranks)  # by every process, in the same order
        if rank in ranks:
            comm._LOCAL_PROCESS_GROUP = group
    comm.synchronize()


def _leave() -> None:
    gc.collect()  # models that still refer to the group would otherwise end its threads only with the interpreter
    torch.distributed.destroy_process_group()
    comm._LOCAL_PROCESS_GROUP = None


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
        args=(function, machine_rank, num_processes, num_machines, dist_url, args),
        nprocs=num_processes,
    )


def _cpu_process(
    local_rank: int,
    function: Callable[..., None],
    machine_rank: int,
    num_processes: int,
    num_machines: int,
    dist_url: str,
    args: tuple[Any, ...],
) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // num_processes))
    machines = [range(first, first + num_processes) for first in range(0, num_machines * num_processes, num_processes)]
    _join("gloo", rank=machines[machine_rank][local_rank], machines=machines, init_method=dist_url)
    function(*args)
    _leave()


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
        _end(1)


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
