"""Processes that torchrun or SLURM's srun started: where this one stands among them, and how they meet."""

import pickle
import re
import socket
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from detectron2.engine.launch import DEFAULT_TIMEOUT

from catseg.errors import InputError, RunError

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
NODE_LISTS = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")

_SECONDS_TO_BE_ENDED = 5  # in which a launcher ends all processes after one, whose message is the one to read


@dataclass(frozen=True)
class StartedProcess:
    """A process of several that a launcher started.

    Attributes:
        launcher: "torchrun" or "srun".
        rank: of all processes, 0..world_size-1.
        world_size: number of processes.
        local_rank: on this machine, from 0.
        machine: what tells this machine from the others.
        url: where the processes meet: "env://", which is MASTER_ADDR and MASTER_PORT, or "tcp://HOST:PORT".
    """

    launcher: str
    rank: int
    world_size: int
    local_rank: int
    machine: str
    url: str


def started_process(environment: Mapping[str, str], args: Namespace) -> StartedProcess | None:
    """Tell whether a launcher started this process and the others.

    Args:
        environment: of the process. What torchrun sets counts before what SLURM sets, as torchrun may run under srun.
        args: of `argument_parser`. With several `--num-machines` or a `--dist-url`, SLURM's variables do not count: the
            command then starts the processes of each machine by itself, once on each.

    Returns:
        The place of this process; None if it is alone, or SLURM has given it a whole machine.

    Raises:
        ValueError: if the variables are incomplete or no numbers, or options contradict them.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        if args.dist_url != "auto":
            raise InputError("torchrun says where the processes meet: leave --dist-url out")
        machine = environment.get("GROUP_RANK", socket.gethostname())
        return _placed("torchrun", environment, TORCHRUN[:3], machine=machine, url="env://", needed=TORCHRUN)
    if not all(name in environment for name in SLURM) or args.num_machines > 1 or args.dist_url != "auto":
        return None
    machine = environment.get("SLURM_NODEID", socket.gethostname())
    place = _placed("srun", environment, (SLURM[0], SLURM[1], SLURM[2]), machine=machine, url=_slurm_url(environment))
    return place if place.world_size > 1 else None


def _placed(
    launcher: str,
    environment: Mapping[str, str],
    names: tuple[str, ...],
    *,
    machine: str,
    url: str,
    needed: tuple[str, ...] = (),
) -> StartedProcess:
    missing = [name for name in needed if not environment.get(name)]
    if missing:
        raise InputError(f"{needed[0]} and {needed[1]} are set, as by torchrun, but not {' and '.join(missing)}")
    numbers = []
    for name in names:
        if not environment[name].isdecimal():
            raise InputError(f"{name} in the environment must be a whole number, got {environment[name]!r}")
        numbers.append(int(environment[name]))
    rank, world_size, local_rank = numbers
    if not local_rank <= rank < world_size:
        raise InputError(f"the environment contradicts itself: {', '.join(f'{n}={environment[n]}' for n in names)}")
    return StartedProcess(launcher, rank, world_size, local_rank, machine, url)


def _slurm_url(environment: Mapping[str, str]) -> str:
    """Where the processes of a job step meet: MASTER_ADDR and MASTER_PORT, or its first machine and a port of its own.

    Raises:
        ValueError: if no variable names the machines.
    """
    nodes = next((environment[name] for name in NODE_LISTS if environment.get(name)), "")
    host = environment.get("MASTER_ADDR") or first_host(nodes)
    if not host:
        raise InputError(
            f"SLURM_NTASKS is set, but none of {', '.join(NODE_LISTS)}: set MASTER_ADDR to the first machine"
        )
    job, step = (int(re.sub(r"\D", "", environment.get(name, "")) or 0) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return f"tcp://{host}:{environment.get('MASTER_PORT') or 20_000 + (job * 16 + step) % 20_000}"


def first_host(nodes: str) -> str:
    """Return the first machine of a list as SLURM writes it: "gpu[03-05,9],login" gives "gpu03"."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0] if first else "")


class Meeting:
    """The processes that were started together, once all of them are there.

    Args:
        process: this one.

    Attributes:
        process: as given.
        store: what `torch.distributed.init_process_group` takes.
        machines: the ranks on each machine, as Detectron2's local groups have them.

    Raises:
        RuntimeError: if some do not come within Detectron2's time limit.
        ValueError: if machines have different numbers of processes.
    """

    def __init__(self, process: StartedProcess, *, timeout: timedelta = DEFAULT_TIMEOUT) -> None:
        self.process = process
        try:
            found = torch.distributed.rendezvous(process.url, process.rank, process.world_size, timeout=timeout)
            store, *_ = next(found)
            self.store = torch.distributed.PrefixStore("catseg", store)
            self.store.set(f"machine {process.rank}", process.machine)
            names = [self.store.get(f"machine {rank}").decode() for rank in range(process.world_size)]
            self.store.set(f"met {process.rank}", "")
            if process.rank == 0:  # which the others ask, so that it must not end before they have met
                self.store.wait([f"met {rank}" for rank in range(process.world_size)])
        except RuntimeError as error:
            raise RunError(
                f"process {process.rank} of {process.world_size} did not meet the others at {process.url}: are all of "
                f"them started, by {process.launcher}? ({str(error).splitlines()[0]})"
            ) from error
        self.machines = [[rank for rank, name in enumerate(names) if name == own] for own in dict.fromkeys(names)]
        if len({len(ranks) for ranks in self.machines}) > 1:
            counts = ", ".join(str(len(ranks)) for ranks in self.machines)
            raise InputError(f"{process.launcher} started different numbers of processes on the machines: {counts}")

    def arguments(self, args: Namespace) -> Namespace:
        """Return the options with which Detectron2 would have started the processes.

        Raises:
            ValueError: if the options say something else.
        """
        here, launcher = len(self.machines[0]), self.process.launcher
        [machine] = [index for index, ranks in enumerate(self.machines) if self.process.rank in ranks]
        if args.num_gpus not in (None, here):
            raise InputError(
                f"--num-gpus {args.num_gpus} contradicts {launcher}, which started {here} processes on each machine: "
                "leave --num-gpus out"
            )
        if args.num_machines not in (1, len(self.machines)) or args.machine_rank not in (0, machine):
            raise InputError(
                f"--num-machines and --machine-rank contradict {launcher}, which started processes on "
                f"{len(self.machines)} machines: leave both out"
            )
        given = {"num_gpus": here, "num_machines": len(self.machines), "machine_rank": machine}
        return Namespace(**{**vars(args), **given, "dist_url": self.process.url})

    def once_per_machine(self, function: Callable[[], Any]) -> Any:
        """Call a function in the first process of each machine, and return in each what it returned there.

        If it raises on any machine, that process raises it, and all others end by themselves shortly after.
        """
        firsts = [ranks[0] for ranks in self.machines]
        [first] = [ranks[0] for ranks in self.machines if self.process.rank in ranks]
        if first == self.process.rank:
            try:
                result = function()
            except BaseException:
                self.store.set(f"result {first}", "")
                raise
            self.store.set(f"result {first}", pickle.dumps(result))  # type: ignore[arg-type]  # bytes are taken, too
        try:
            results = {rank: self.store.get(f"result {rank}") for rank in firsts}
        except RuntimeError:  # the first process, which holds the store, is gone
            results = {first: b""}
        if not all(results.values()):
            time.sleep(_SECONDS_TO_BE_ENDED)
            raise RunError(f"process {self.process.rank} ends, because another one did, which said why")
        return pickle.loads(results[first])


def own_gpu(process: StartedProcess) -> int:
    """Return the index of the GPU of a process: that of its local rank, or 0 if srun shows each process its own alone.

    Raises:
        ValueError: if there are fewer GPUs than processes.
    """
    count = torch.cuda.device_count()
    if process.launcher == "srun" and count == 1:
        return 0
    if process.local_rank >= count:
        raise InputError(
            f"{process.launcher} started more processes on this machine than torch sees GPUs, which are {count}"
        )
    return process.local_rank
