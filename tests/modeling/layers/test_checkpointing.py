import torch
from torch import Tensor, nn

from catseg.modeling.layers.checkpointing import checkpointed


def test_gradients_are_the_same_and_nothing_on_the_way_is_kept() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 64), nn.GELU(), nn.Linear(64, 4))
    x = torch.rand(3, 4, requires_grad=True)

    def gradients(result: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(result.square().sum(), [x, *layers.parameters()]))

    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = checkpointed(layers, x)
    assert not any(tensor.shape == (3, 64) for tensor in kept)
    for found, expected in zip(gradients(result), gradients(layers(x)), strict=True):
        assert torch.equal(found, expected)


def test_nothing_changes_without_gradients() -> None:
    with torch.no_grad():
        assert torch.equal(checkpointed(torch.exp, torch.ones(2)), torch.ones(2).exp())
