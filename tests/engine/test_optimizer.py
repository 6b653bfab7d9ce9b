import pytest
import torch
from detectron2.config import get_cfg
from torch import nn

from catseg.config import add_catseg_config
from catseg.engine.optimizer import build_optimizer, parameter_groups


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.batch_norm = nn.BatchNorm2d(4)
        self.group_norm = nn.GroupNorm(2, 4)
        self.layer_norm = nn.LayerNorm(4)
        self.embedding = nn.Embedding(5, 4)
        self.relative_position_bias_table = nn.Parameter(torch.ones(3))
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Block()
        self.clip = Block()
        self.sem_seg_head = Block()
        self.clip_like = Block()
        self.again = self.sem_seg_head


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_catseg_config(cfg)
    cfg.SOLVER.BASE_LR = 0.1
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.5
    cfg.SOLVER.CLIP_MULTIPLIER = 0.01
    cfg.SOLVER.WEIGHT_DECAY = 0.2
    cfg.SOLVER.WEIGHT_DECAY_NORM = 0.03
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.004
    return cfg


def rates_by_name(model, groups):
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = [
        (names[parameter], (group["lr"], group["weight_decay"])) for group in groups for parameter in group["params"]
    ]
    assert len(rates) == len(dict(rates)), "a parameter is in two groups"
    return dict(rates)


def test_each_parameter_gets_the_rate_of_its_part_and_the_decay_of_its_kind(cfg):
    model = Model()
    rates = rates_by_name(model, build_optimizer(cfg, model).param_groups)
    for part, lr in {"backbone": 0.05, "clip": 0.001, "sem_seg_head": 0.1, "clip_like": 0.1}.items():
        assert rates.pop(f"{part}.conv.weight") == pytest.approx((lr, 0.2))
        assert rates.pop(f"{part}.conv.bias") == pytest.approx((lr, 0.2))
        for norm in ("batch_norm", "group_norm", "layer_norm"):
            assert rates.pop(f"{part}.{norm}.weight") == pytest.approx((lr, 0.03))
            assert rates.pop(f"{part}.{norm}.bias") == pytest.approx((lr, 0.03))
        assert rates.pop(f"{part}.embedding.weight") == pytest.approx((lr, 0.004))
        assert rates.pop(f"{part}.relative_position_bias_table") == pytest.approx((lr, 0.004))
    assert not rates, "frozen or shared parameters are listed too"


def test_parameters_of_equal_rates_share_a_group(cfg):
    groups = build_optimizer(cfg, Model()).param_groups
    assert len(groups) == 3 * 3


def test_nothing_to_train_is_an_error():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train"):
        parameter_groups(
            model, lr=1.0, lr_multipliers={}, weight_decay=0.0, weight_decay_norm=0.0, weight_decay_embed=0.0
        )


def test_the_optimizer_is_chosen_by_name(cfg):
    assert isinstance(build_optimizer(cfg, Model()), torch.optim.AdamW)
    cfg.SOLVER.OPTIMIZER = "SGD"
    assert isinstance(build_optimizer(cfg, Model()), torch.optim.SGD)
    cfg.SOLVER.OPTIMIZER = "LION"
    with pytest.raises(ValueError, match="LION"):
        build_optimizer(cfg, Model())


def step_with_clipping(cfg, clip_type, gradients):
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False))
    cfg.SOLVER.OPTIMIZER = "SGD"
    cfg.SOLVER.BASE_LR = 1.0
    cfg.SOLVER.MOMENTUM = 0.0
    cfg.SOLVER.WEIGHT_DECAY = 0.0
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = clip_type
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 1.0
    optimizer = build_optimizer(cfg, model)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = torch.full_like(parameter, gradient)
    optimizer.step()
    return [(old - new).flatten() for old, new in zip(before, model.parameters(), strict=True)]


def test_full_model_clipping_scales_all_gradients_by_their_joint_norm(cfg):
    first, second = step_with_clipping(cfg, "full_model", [3.0, 4.0])
    norm = (2 * 3.0**2 + 2 * 4.0**2) ** 0.5
    torch.testing.assert_close(first, torch.full((2,), 3.0 / norm))
    torch.testing.assert_close(second, torch.full((2,), 4.0 / norm))


def test_full_model_clipping_leaves_small_gradients_alone(cfg):
    first, second = step_with_clipping(cfg, "full_model", [0.1, 0.2])
    torch.testing.assert_close(first, torch.full((2,), 0.1))
    torch.testing.assert_close(second, torch.full((2,), 0.2))


def test_gradients_that_are_not_finite_are_an_error(cfg):
    with pytest.raises(FloatingPointError, match="nan"):
        step_with_clipping(cfg, "full_model", [1.0, float("nan")])


def test_detectron2_clip_types_work_too(cfg):
    first, second = step_with_clipping(cfg, "value", [3.0, 0.5])
    torch.testing.assert_close(first, torch.full((2,), 1.0))
    torch.testing.assert_close(second, torch.full((2,), 0.5))
    first, second = step_with_clipping(cfg, "norm", [3.0, 0.5])
    torch.testing.assert_close(first, torch.full((2,), 0.5**0.5))
    torch.testing.assert_close(second, torch.full((2,), 0.5))
