import copy

import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.utils import comm
from timm.layers import BatchNormAct2d, SyncBatchNormAct
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from catseg.engine.batch_norms import average_statistics, synchronise_batch_norms
from catseg.engine.launch import launch
from catseg.engine.training_step import TrainingStep
from catseg.engine.training_stream import TrainingStream
from catseg.modeling.backbones import VAN


class Segmenter(nn.Module):
    """A small VAN, whose norms are trained batch norms, and a frozen batch norm of Detectron2."""

    def __init__(self):
        super().__init__()
        self.frozen = FrozenBatchNorm2d(3)
        self.frozen.running_mean.fill_(0.1)
        self.backbone = VAN(embed_dims=(8, 16), depths=(1, 1), out_features=("res3",))
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, batch):
        return {"loss": self.scores(torch.stack(batch)).square().mean()}

    def scores(self, images):
        return self.head(self.backbone(self.frozen(images))["res3"])


def identity(value):
    return value


def train(folder):
    torch.manual_seed(0)
    model = Segmenter()
    records = list(torch.randn(8, 3, 16, 16) * torch.arange(1, 9).view(-1, 1, 1, 1))
    rank, world_size = comm.get_rank(), comm.get_world_size()
    stream = TrainingStream(records=records, mapper=identity, seed=1, batch_size=1, rank=rank, world_size=world_size)
    step = TrainingStep(
        model=DistributedDataParallel(model, broadcast_buffers=False),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data_loader=DataLoader(stream, batch_size=1, collate_fn=identity),
        stream=stream,
        device=torch.device("cpu"),
        accumulation_steps=2,
    )
    for _ in range(2):
        step.run()
    with torch.no_grad():
        scores = model.eval().scores(torch.stack(records))
    torch.save({"state": model.state_dict(), "scores": scores}, folder / f"{rank}.pth")


def test_all_processes_have_the_same_network_after_training_with_batch_norms(tmp_path):
    launch(train, num_processes=2, device="cpu", args=(tmp_path,))
    one, other = (torch.load(tmp_path / f"{rank}.pth") for rank in range(2))
    assert one["state"]["backbone.stages.0.blocks.0.norm1.num_batches_tracked"] == 4
    for name, value in one["state"].items():
        assert torch.equal(value, other["state"][name]), name
    assert torch.equal(one["scores"], other["scores"])
    assert torch.equal(one["state"]["frozen.running_mean"], torch.full((3,), 0.1))


def test_one_process_has_nothing_to_average():
    model = Segmenter()
    before = copy.deepcopy(model.state_dict())
    average_statistics(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_trained_batch_norms_are_synchronised_with_their_weights_and_activations():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(BatchNormAct2d(3), nn.BatchNorm2d(3)), nn.GroupNorm(1, 3))
    model[1][1].requires_grad_(False)
    names = list(model.state_dict())
    parameters = list(model.parameters())
    synchronise_batch_norms(model)
    assert [type(model[0]), type(model[1][0])] == [nn.SyncBatchNorm, SyncBatchNormAct]
    assert [type(model[1][1]), type(model[2])] == [nn.BatchNorm2d, nn.GroupNorm]
    assert isinstance(model[1][0].act, nn.ReLU)
    assert list(model.state_dict()) == names
    assert all(new is old for new, old in zip(model.parameters(), parameters, strict=True))
