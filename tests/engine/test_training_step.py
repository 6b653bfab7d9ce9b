import copy

import pytest
import torch
from detectron2.config import get_cfg
from torch import nn
from torch.utils.data import DataLoader

from catseg.config import add_catseg_config
from catseg.engine.optimizer import build_optimizer
from catseg.engine.training_step import TrainingStep, step_options
from catseg.engine.training_stream import TrainingStream

CPU = torch.device("cpu")


class Regression(nn.Module):
    """Mean squared length of the output; notes in which type it was computed."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, batch):
        output = self.layers(torch.stack(batch))
        self.dtype = output.dtype
        return {"loss_a": output.float().square().mean(), "loss_b": output.float().abs().mean()}


def make_step(*, model=None, batch_size=2, records=None, lr=0.1, **options):
    model = model or Regression()
    records = records or list(torch.randn(12, 3, generator=torch.Generator().manual_seed(1)))
    stream = TrainingStream(records=records, mapper=lambda record: record, seed=5, batch_size=batch_size)
    loader = DataLoader(stream, batch_size=batch_size, collate_fn=lambda samples: samples)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return TrainingStep(model=model, optimizer=optimizer, data_loader=loader, stream=stream, device=CPU, **options)


def test_a_step_descends_along_the_gradient_of_the_summed_losses():
    step = make_step()
    model = copy.deepcopy(step.model)
    metrics = step.run()
    losses = model(next(iter(make_step().data_loader)))
    sum(losses.values()).backward()
    assert metrics["loss_a"] == pytest.approx(losses["loss_a"].item())
    assert metrics["loss_b"] == pytest.approx(losses["loss_b"].item())
    assert metrics["data_time"] >= 0
    for trained, initial in zip(step.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(trained, initial - 0.1 * initial.grad)


def test_accumulated_batches_equal_one_large_batch():
    accumulated, large = make_step(batch_size=2, accumulation_steps=3), make_step(batch_size=6)
    for _ in range(3):
        first, second = accumulated.run(), large.run()
        assert first["loss_a"] == pytest.approx(second["loss_a"])
    for one, other in zip(accumulated.model.parameters(), large.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_of_one_step_do_not_reach_the_next():
    step = make_step(lr=0.0, records=[torch.ones(3)] * 4)
    step.run()
    first = [parameter.grad.clone() for parameter in step.model.parameters()]
    step.run()
    for gradient, parameter in zip(first, step.model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
        assert gradient.any()


def test_autocast_computes_in_bfloat16_and_keeps_float32_weights():
    step = make_step(autocast_dtype=torch.bfloat16)
    step.run()
    assert step.model.dtype == torch.bfloat16
    assert all(parameter.dtype == torch.float32 for parameter in step.model.parameters())
    plain = make_step()
    plain.run()
    assert plain.model.dtype == torch.float32


def test_float16_gradients_are_scaled_and_steps_that_overflow_are_left_out():
    step = make_step(autocast_dtype=torch.float16, lr=0.01)
    plain = make_step(lr=0.01)
    before = copy.deepcopy(step.model.state_dict())
    step.run()
    plain.run()
    assert step.state_dict()["grad_scaler"]["scale"] > 1
    for one, other in zip(step.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-2)
    assert not torch.equal(step.model.layers[0].weight, before["layers.0.weight"])

    step.model.layers[0].weight.register_hook(lambda gradient: gradient * float("inf"))
    before = copy.deepcopy(step.model.state_dict())
    scale = step.state_dict()["grad_scaler"]["scale"]
    step.run()
    assert all(torch.equal(before[name], tensor) for name, tensor in step.model.state_dict().items())
    assert step.state_dict()["grad_scaler"]["scale"] == scale / 2


def test_a_loss_that_is_not_finite_changes_nothing():
    step = make_step(records=[torch.full((3,), float("nan"))] * 4)
    before = copy.deepcopy(step.model.state_dict())
    with pytest.raises(FloatingPointError, match="loss_a"):
        step.run()
    assert all(torch.equal(before[name], tensor) for name, tensor in step.model.state_dict().items())


CLIPPING = ["value", "norm", "full_model", None]


def clipped_step(clip_type, **options):
    """A step whose optimizer clips, and the model's weights before it."""
    cfg = get_cfg()
    add_catseg_config(cfg)
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = clip_type is not None
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = clip_type or "value"
    step = make_step(**options)
    step.optimizer = build_optimizer(cfg, step.model)
    return step, copy.deepcopy(step.model.state_dict())


def unchanged(step, before):
    return all(torch.equal(before[name], tensor) for name, tensor in step.model.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize("clip_type", CLIPPING)
@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_a_gradient_that_is_not_finite_changes_nothing(clip_type, value, accumulation_steps):
    step, before = clipped_step(clip_type, accumulation_steps=accumulation_steps)
    step.model.layers[2].bias.register_hook(lambda gradient: gradient * torch.tensor([1.0, value]))
    with pytest.raises(FloatingPointError, match=r"1 of 4 gradients are not finite, as that of layers\.2\.bias"):
        step.run()
    assert unchanged(step, before)
    assert not step.optimizer.state


def test_large_gradients_are_finite():
    step, before = clipped_step("value")
    step.model.layers[2].bias.register_hook(lambda gradient: gradient * 1e30)
    step.run()
    assert not unchanged(step, before)


@pytest.mark.parametrize("clip_type", CLIPPING)
def test_float16_steps_are_not_left_out_for_ever(clip_type, caplog):
    step, before = clipped_step(clip_type, autocast_dtype=torch.float16)
    step.model.layers[2].bias.register_hook(lambda gradient: gradient * float("nan"))
    for _ in range(16):  # from a loss scale of 65536 down to 2
        step.run()
    assert caplog.text.count("this step is left out") == 16
    with pytest.raises(FloatingPointError, match="not finite"):
        step.run()
    assert unchanged(step, before)


class Noisy(Regression):
    def forward(self, batch):
        return super().forward([sample + torch.randn(3) for sample in batch])


def test_the_state_restores_optimizer_data_and_the_networks_randomness():
    straight = make_step(model=Noisy())
    for _ in range(4):
        straight.run()

    first = make_step(model=Noisy())
    first.run()
    first.run()
    torch.manual_seed(123)
    resumed = make_step(model=Noisy())
    resumed.model.load_state_dict(first.model.state_dict())
    resumed.load_state_dict(first.state_dict())
    resumed.run()
    torch.rand(7)  # evaluation or a hook drawing numbers in between
    resumed.run()
    for one, other in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["SOLVER.AMP.DTYPE", "float8"], r"SOLVER\.AMP\.DTYPE is 'float8', expected one of"),
        (["SOLVER.AMP.DTYPE", "float16", "SOLVER.AMP.ENABLED", True], "float16 needs a GPU"),
        (["SOLVER.ACCUMULATION_STEPS", 0], r"SOLVER\.ACCUMULATION_STEPS is 0, expected a number of at least 1"),
    ],
)
def test_options_that_cannot_be_used_are_an_error(options, message):
    cfg = get_cfg()
    add_catseg_config(cfg)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *options])
    with pytest.raises(ValueError, match=message):
        step_options(cfg)


def test_options_are_read_from_the_config():
    cfg = get_cfg()
    add_catseg_config(cfg)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "SOLVER.AMP.ENABLED", True, "SOLVER.ACCUMULATION_STEPS", 3])
    assert step_options(cfg) == {"device": CPU, "autocast_dtype": torch.bfloat16, "accumulation_steps": 3}
