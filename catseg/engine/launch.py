"""Several processes for one training or evaluation run, on GPUs or on a CPU."""

import gc
import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed
from detectron2.engine import launch as launch_on_gpus


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

    On GPUs this is Detectron2's `launch`, which knows no CPUs. A single process runs right here.

    Args:
        function: called with `args` in each process; must be importable there.
        num_processes: processes on each machine; on GPUs, one each.
        num_machines: machines, each of which calls this function.
        machine_rank: this machine, 0..num_machines-1.
        dist_url: where the first machine is reached, "tcp://host:port"; "auto" chooses a port on a single machine.
        device: torch device type, "cuda" or "cpu".
        args: arguments of `function`.
    """
    world_size = num_machines * num_processes
    if world_size == 1:
        function(*args)
        return
    if device != "cpu":
        launch_on_gpus(function, num_processes, num_machines, machine_rank, dist_url, args=args)
        return
    if dist_url == "auto":
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    first_rank = machine_rank * num_processes
    torch.multiprocessing.spawn(
        _cpu_process, args=(function, first_rank, num_processes, world_size, dist_url, args), nprocs=num_processes
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
    # Not after an error: the others would fail too, and their errors would hide the first one.
    torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
