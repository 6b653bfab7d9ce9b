import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from catseg.parity.relu_kinks import kink_spread


def recomputed_relu(x):
    return checkpoint(torch.relu, x, use_reentrant=False)


def overwriting_relu(x):
    return F.relu(x + 0, inplace=True)


@pytest.mark.parametrize(
    "relu",
    [torch.relu, F.relu, nn.ReLU(), torch.Tensor.relu, recomputed_relu, overwriting_relu],
    ids=["torch", "F", "nn", "tensor", "recomputed", "overwriting"],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_only_inputs_at_zero_are_uncertain(relu, sign):
    weight = torch.ones(3, requires_grad=True)
    x = torch.tensor([sign * 1e-9, 1.0, -1.0])

    def gradients():
        weight.grad = None
        (relu(weight * x) * torch.tensor([5.0, 7.0, 9.0])).sum().backward()
        return {"weight": weight.grad.clone(), "at zero": weight.grad[:1] / x[0], "elsewhere": weight.grad[1:].clone()}

    spread = kink_spread(gradients)
    assert spread["at zero"] == pytest.approx(5)
    assert spread["elsewhere"] == 0
    assert spread["weight"] == pytest.approx(5e-9)
