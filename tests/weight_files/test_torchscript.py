import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from catseg.weight_files.reader import read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.sizes = [1, 2]
        self.scale = nn.Parameter(torch.tensor(4.6))
        self.blocks = nn.Sequential(nn.Linear(3, 2).half(), nn.BatchNorm1d(2))
        self.tied = self.blocks[0]

    def forward(self, x):
        return self.blocks(x) * self.scale


def save(network, path):
    torch.jit.script(network).save(path)


def test_weights_are_read_as_torch_reads_them(tmp_path):
    save(Network(), tmp_path / "program.pth")
    expected = torch.jit.load(tmp_path / "program.pth").state_dict()
    found = read_checkpoint(tmp_path / "program.pth")["model"]
    assert found.keys() == expected.keys()
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in expected.items()
    )


def test_the_program_is_never_loaded(tmp_path, monkeypatch):
    class RunsCode:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was_run"),)

    save(Network(), tmp_path / "program.pt")
    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as evil, zipfile.ZipFile(tmp_path / "program.pt") as program:
        for entry in program.infolist():
            evil.writestr(
                entry, pickle.dumps(RunsCode()) if entry.filename.endswith("/data.pkl") else program.read(entry)
            )
    with pytest.raises(ValueError, match=r"evil\.pt is TorchScript without weights"):
        read_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "was_run").exists()
    monkeypatch.setattr(torch.jit, "load", None)
    assert read_checkpoint(tmp_path / "program.pt")["model"]


def test_a_program_without_weights_says_so(tmp_path):
    save(nn.Identity(), tmp_path / "jit.pt")
    with pytest.raises(ValueError, match=r"jit\.pt is TorchScript without weights"):
        read_checkpoint(tmp_path / "jit.pt")
