"""Processes of torchrun and SLURM: what their environment says, and how they meet."""

import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch

from catseg.engine import started_processes
from catseg.engine.launch import _free_port
from catseg.engine.started_processes import Meeting, StartedProcess, first_host, own_gpu, started_process

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "first",
    "MASTER_PORT": "29500",
}
SLURM = {
    "SLURM_PROCID": "3",
    "SLURM_NTASKS": "4",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_JOB_NODELIST": "gpu[07-08]",
    "SLURM_JOB_ID": "100",
}


def arguments(**options):
    return Namespace(**{"num_gpus": None, "num_machines": 1, "machine_rank": 0, "dist_url": "auto", **options})


def test_torchrun_is_recognised():
    expected = StartedProcess("torchrun", 5, 8, 1, "1", "env://")
    assert started_process(TORCHRUN, arguments()) == expected
    assert started_process({**SLURM, **TORCHRUN}, arguments()) == expected


def test_slurm_is_recognised():
    found = started_process(SLURM, arguments())
    assert found == StartedProcess("srun", 3, 4, 1, "1", "tcp://gpu07:21600")
    assert started_process({**SLURM, "MASTER_ADDR": "a", "MASTER_PORT": "1"}, arguments()).url == "tcp://a:1"


def test_a_process_that_is_alone_starts_others_by_itself():
    assert started_process({}, arguments()) is None
    assert (
        started_process({**SLURM, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, arguments()) is None
    )
    assert started_process(SLURM, arguments(num_machines=2, dist_url="tcp://first:1")) is None


@pytest.mark.parametrize(
    ("environment", "options", "message"),
    [
        ({**TORCHRUN, "LOCAL_RANK": ""}, {}, "RANK and WORLD_SIZE are set, as by torchrun, but not LOCAL_RANK"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, {}, "but not LOCAL_RANK and MASTER_ADDR and MASTER_PORT"),
        ({**TORCHRUN, "RANK": "first"}, {}, "RANK in the environment must be a whole number, got 'first'"),
        ({**TORCHRUN, "RANK": "8"}, {}, "the environment contradicts itself: RANK=8, WORLD_SIZE=8"),
        (TORCHRUN, {"dist_url": "tcp://first:1"}, "leave --dist-url out"),
        ({**SLURM, "SLURM_JOB_NODELIST": ""}, {}, "set MASTER_ADDR to the first machine"),
    ],
)
def test_environments_that_cannot_be_are_an_error(environment, options, message):
    with pytest.raises(ValueError, match=message):
        started_process(environment, arguments(**options))


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu", "gpu"),
        ("gpu3,gpu4", "gpu3"),
        ("gpu[03-05,9],login", "gpu03"),
        ("rack[1-2]node[3,7]", "rack1node3"),
        ("login,gpu[1-2]", "login"),
        ("", ""),
    ],
)
def test_the_first_machine_of_a_list(nodes, host):
    assert first_host(nodes) == host


def meet(machines, use=lambda meeting: meeting, launcher="torchrun"):
    """Let as many processes as `machines` names meet, each in a thread; what `use` returned or raised in each."""
    url = f"tcp://127.0.0.1:{_free_port()}"
    processes = [
        StartedProcess(launcher, rank, len(machines), machines[:rank].count(name), name, url)
        for rank, name in enumerate(machines)
    ]
    with ThreadPoolExecutor(len(machines)) as pool:
        futures = [pool.submit(lambda p=p: use(Meeting(p, timeout=timedelta(seconds=60)))) for p in processes]
        return [future.exception() or future.result() for future in futures]


def test_processes_meet_and_have_the_arguments_of_detectron2():
    meetings = meet(["a", "b", "a", "b"])
    assert all(meeting.machines == [[0, 2], [1, 3]] for meeting in meetings)
    given = [meeting.arguments(arguments(resume=True)) for meeting in meetings]
    assert [(args.num_gpus, args.num_machines, args.machine_rank) for args in given] == [(2, 2, 0), (2, 2, 1)] * 2
    assert all(args.resume for args in given)
    assert meetings[1].arguments(arguments(num_gpus=2, num_machines=2, machine_rank=1)).num_gpus == 2
    for options, message in [
        ({"num_gpus": 4}, "--num-gpus 4 contradicts torchrun, which started 2 processes on each machine"),
        ({"num_gpus": 1}, "--num-gpus 1 contradicts"),
        ({"num_machines": 3}, "started processes on 2 machines"),
        ({"machine_rank": 1}, "--machine-rank contradict"),
    ]:
        with pytest.raises(ValueError, match=message):
            meetings[0].arguments(arguments(**options))


def test_machines_with_different_numbers_of_processes_are_an_error():
    for error in meet(["a", "a", "b"], launcher="srun"):
        assert isinstance(error, ValueError)
        assert str(error) == "srun started different numbers of processes on the machines: 2, 1"


def test_processes_that_do_not_come_are_an_error():
    process = StartedProcess("srun", 1, 2, 1, "a", f"tcp://127.0.0.1:{_free_port()}")
    with pytest.raises(RuntimeError, match=r"process 1 of 2 did not meet the others at tcp://.* by srun"):
        Meeting(process, timeout=timedelta(milliseconds=200))


def test_the_first_process_of_each_machine_does_what_is_done_once():
    def use(meeting):  # the first one's store serves all, and has to stay
        return meeting, meeting.once_per_machine(lambda: meeting.process.rank)

    assert [result for _, result in meet(["a", "b", "a", "b"], use)] == [0, 1, 0, 1]


def test_if_the_first_process_of_a_machine_fails_all_end(monkeypatch):
    monkeypatch.setattr(started_processes, "_SECONDS_TO_BE_ENDED", 0.1)

    def use(meeting):
        def check():
            if meeting.process.rank == 1:
                raise ValueError("no such file here")
            return True

        try:
            return meeting.once_per_machine(check)
        finally:
            time.sleep(0.5 * (meeting.process.rank == 0))  # the store is here

    failed = meet(["a", "b", "a", "b"], use)
    assert isinstance(failed[1], ValueError)
    for rank in (0, 2, 3):
        assert str(failed[rank]) == f"process {rank} ends, because another one did, which said why"


@pytest.mark.parametrize(
    ("launcher", "local_rank", "seen", "gpu"),
    [("torchrun", 1, 2, 1), ("srun", 1, 4, 1), ("srun", 3, 1, 0), ("torchrun", 1, 1, None), ("srun", 2, 2, None)],
)
def test_each_process_has_a_gpu_of_its_own(monkeypatch, launcher, local_rank, seen, gpu):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    process = StartedProcess(launcher, local_rank, 8, local_rank, "a", "env://")
    if gpu is not None:
        assert own_gpu(process) == gpu
        return
    with pytest.raises(ValueError, match=f"{launcher} started more processes on this machine than torch sees GPUs"):
        own_gpu(process)
