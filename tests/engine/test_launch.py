"""Two processes on a CPU compute what one does on the same total batch, and end together if one fails."""

import os
import pickle
import signal
import subprocess
import sys
import traceback

import pytest
import torch
from detectron2.utils import comm
from torch import nn
from torch.multiprocessing import ProcessExitedException
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from catseg.engine.launch import _free_port, _pickled, launch
from catseg.engine.training_step import TrainingStep
from catseg.engine.training_stream import TrainingStream

TOTAL_BATCH = 4
STEPS = 3


class Squares(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, batch):
        return {"loss": self.layers(torch.stack(batch)).square().mean()}


def identity(value):
    return value


def train(folder, accumulation_steps):
    rank, world_size = comm.get_rank(), comm.get_world_size()
    assert (comm.get_local_rank(), comm.get_local_size()) == (rank, world_size)
    torch.manual_seed(0)
    model = Squares()
    records = list(torch.randn(16, 3))
    batch_size = TOTAL_BATCH // world_size
    stream = TrainingStream(
        records=records, mapper=identity, seed=1, batch_size=batch_size, rank=rank, world_size=world_size
    )
    step = TrainingStep(
        model=DistributedDataParallel(model) if world_size > 1 else model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
        data_loader=DataLoader(stream, batch_size=batch_size, collate_fn=identity),
        stream=stream,
        device=torch.device("cpu"),
        accumulation_steps=accumulation_steps,
    )
    losses, gradients = [], []
    for _ in range(STEPS):
        losses.append(step.run()["loss"])
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    result = {"losses": losses, "gradients": gradients, "weights": model.state_dict()}
    torch.save(result, folder / f"{accumulation_steps}_{world_size}_{rank}.pth")


def train_both_ways(folder):
    for accumulation_steps in (1, 2):
        train(folder, accumulation_steps)


def test_two_processes_equal_one(tmp_path):
    for num_processes in (1, 2):
        launch(train_both_ways, num_processes=num_processes, device="cpu", args=(tmp_path,))
    for accumulation_steps in (1, 2):
        names = [f"{accumulation_steps}_{processes}_{rank}.pth" for processes, rank in ((1, 0), (2, 0), (2, 1))]
        one, *two = (torch.load(tmp_path / name) for name in names)
        for result in two:
            torch.testing.assert_close(result["losses"], one["losses"])
            torch.testing.assert_close(result["gradients"], one["gradients"])
            torch.testing.assert_close(result["weights"], one["weights"])
        assert all(torch.equal(two[0]["weights"][name], tensor) for name, tensor in two[1]["weights"].items())


JOINS = """
from argparse import Namespace
from os import environ
from detectron2.utils import comm
from catseg.engine.launch import run_joined
from catseg.engine.started_processes import Meeting, started_process

def say():
    print(comm.get_rank(), comm.get_world_size(), comm.get_local_rank(), comm.get_local_size(), flush=True)
    if "FAILS" in environ and comm.get_rank() == 2:
        raise SystemExit("the labels are wrong")
    comm.synchronize()

args = Namespace(num_gpus=None, num_machines=1, machine_rank=0, dist_url="auto")
run_joined(say, Meeting(started_process(environ, args)), device="cpu")
"""


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_processes_of_a_launcher_have_detectron2s_groups_and_end_together(fails):
    """Four processes, of which srun has put every second one on the same machine."""
    job = {**os.environ, "SLURM_NTASKS": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    job |= {"FAILS": "1"} if fails else {}
    processes = []
    for rank, machine in enumerate("abab"):
        place = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank // 2), "SLURM_NODEID": machine}
        process = subprocess.Popen(
            [sys.executable, "-c", JOINS],
            env=job | place,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
    outputs = [process.communicate() for process in processes]
    assert [out.split() for out, _ in outputs] == [[str(rank), "4", str(rank // 2), "2"] for rank in range(4)], outputs
    assert [process.returncode for process in processes] == [int(fails)] * 4
    assert ("the labels are wrong" in outputs[2][1]) is fails


def fail(rank, error):
    """Fails in one process, while the others wait for it."""
    if comm.get_rank() == rank:
        raise error
    comm.synchronize()


@pytest.mark.parametrize(
    ("rank", "error"),
    [(0, ValueError("the labels are wrong")), (1, SystemExit("train_net.py: the labels are wrong"))],
    ids=["error", "exit"],
)
def test_what_one_process_raises_ends_all_and_is_raised_once(rank, error, capfd):
    with pytest.raises(type(error), match="the labels are wrong") as caught:
        launch(fail, num_processes=2, device="cpu", args=(rank, error))
    shown = "".join(traceback.format_exception(caught.value)) + capfd.readouterr().err
    assert "in fail" in shown
    assert "Connection" not in shown
    assert shown.count("the labels are wrong") == 1


class TwoPartError(Exception):
    """Can be pickled, but not read again."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def test_errors_that_cannot_be_pickled_keep_their_message():
    error, text = pickle.loads(_pickled(TwoPartError("one", "two"), "the stack"))
    assert (type(error), str(error), text) == (RuntimeError, "TwoPartError: one two", "the stack")


def kill_second():
    if comm.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm.synchronize()


def test_a_process_that_is_killed_is_named():
    with pytest.raises(ProcessExitedException, match="process 1 terminated with signal SIGKILL"):
        launch(kill_second, num_processes=2, device="cpu")
