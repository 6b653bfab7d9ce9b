import open_clip
import torch
from torch import nn

from catseg.modeling.layers.activations import QuickGELU, use_lean_activations

Theirs = open_clip.transformer.QuickGELU


def test_values_and_gradients_are_those_of_the_product() -> None:
    x = torch.linspace(-30, 30, 601, dtype=torch.float64, requires_grad=True)
    for function in (lambda out: out, lambda out: torch.autograd.grad(out.sum(), x)[0]):
        torch.testing.assert_close(function(QuickGELU()(x)), function(Theirs()(x)))


def test_one_tensor_is_kept_for_the_backward_pass() -> None:
    kept: list[torch.Size] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.shape), lambda kept: kept):
        QuickGELU()(torch.rand(5, requires_grad=True))
    assert kept == [(5,)]


def test_modules_of_the_other_form_are_replaced_wherever_they_are() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ModuleDict({"act": Theirs()}), Theirs(), nn.GELU())
    use_lean_activations(model, Theirs)
    kinds = [type(module) for module in model.modules()]
    assert Theirs not in kinds
    assert kinds.count(QuickGELU) == 2
    assert kinds.count(nn.GELU) == 1
