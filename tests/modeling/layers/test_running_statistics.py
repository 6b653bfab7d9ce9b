import copy
from collections.abc import Callable

import pytest
import torch
from timm.layers import BatchNormAct2d, EvoNorm2dB0, convert_sync_batchnorm
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from catseg.modeling.layers.running_statistics import FrozenStatistics, running_statistics, update_statistics_once


class Stages(FrozenStatistics):
    """Two stages of a convolution, a norm and dropout."""

    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        stages = [nn.Sequential(nn.Conv2d(3, 3, 1), norm(3), nn.Dropout(0.5)) for _ in range(2)]
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x)


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": value.clone() for name, module in model.named_modules()
            for key, value in running_statistics(module).items()}  # fmt: skip


def images() -> Tensor:
    return torch.randn(4, 3, 5, 5) + 2


NORMS = {
    "plain": nn.BatchNorm2d,
    "without weights": lambda width: nn.BatchNorm2d(width, affine=False),
    "with activation": BatchNormAct2d,
    "EvoNorm": EvoNorm2dB0,
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_frozen_parts_keep_their_statistics_and_the_rest_updates_them(norm: Callable[[int], nn.Module]) -> None:
    model = Stages(norm)
    model.stages[0].requires_grad_(False)
    model.train()
    before = statistics(model)
    model(images())
    after = statistics(model)
    assert before
    for name, value in before.items():
        assert torch.equal(value, after[name]) == name.startswith("stages.0."), name


def test_dropout_of_a_frozen_part_acts_on() -> None:
    model = Stages().requires_grad_(False).train()
    assert model.stages[0][2].training
    x = images()
    assert not torch.equal(model(x), model(x))


def test_what_trains_again_updates_its_statistics_again() -> None:
    model = Stages().requires_grad_(False).train()
    model.requires_grad_(True).train()
    model(images())
    assert model.stages[1][1].num_batches_tracked == 1


def recompute_each(model: Stages, x: Tensor) -> Tensor:
    for stage in model.stages:
        x = checkpoint(stage, x, use_reentrant=False)
    return x


def recompute_reentrant(model: Stages, x: Tensor) -> Tensor:
    return checkpoint_sequential(model.stages, 2, x.requires_grad_(), use_reentrant=True)


@pytest.mark.parametrize("forward", [recompute_each, recompute_reentrant])
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_recomputing_does_not_count_a_batch_twice(
    norm: Callable[[int], nn.Module], forward: Callable[[Stages, Tensor], Tensor]
) -> None:
    x = images()
    results = []
    for run in (Stages.forward, forward):
        torch.manual_seed(0)
        model = copy.deepcopy(Stages(norm)).train()
        update_statistics_once(model)
        update_statistics_once(model)
        torch.manual_seed(1)
        run(model, x.clone()).square().sum().backward()
        results.append((statistics(model), [parameter.grad for parameter in model.parameters()]))
    for name, value in results[0][0].items():
        assert torch.equal(results[1][0][name], value), name
    torch.testing.assert_close(results[1][1], results[0][1])


def test_norms_that_are_replaced_later_update_once_too() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    model.register_forward_pre_hook(update_statistics_once)
    model(images())
    model = convert_sync_batchnorm(model)
    model.eval()(images())  # which trains on GPUs alone
    assert isinstance(model[1], nn.SyncBatchNorm)
    assert len(model[1]._forward_pre_hooks) == len(model[1]._forward_hooks) == 1
