import logging
import re

import pytest
import torch
from detectron2.config import get_cfg
from timm.layers import RmsNorm2d
from torch import nn

from catseg.config import add_catseg_config
from catseg.engine.optimizer import build_optimizer, parameter_groups
from catseg.modeling import backbones


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.batch_norm = nn.BatchNorm2d(4)
        self.group_norm = nn.GroupNorm(2, 4)
        self.layer_norm = nn.LayerNorm(4)
        self.rms_norm = nn.RMSNorm(4)
        self.timm_rms_norm = RmsNorm2d(4)
        self.embedding = nn.Embedding(5, 4)
        self.position_embedding = nn.Parameter(torch.ones(3))
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
    assert rates["backbone.position_embedding"] == pytest.approx((0.05, 0.004))
    assert rates["clip.position_embedding"] == pytest.approx((0.001, 0.2)), "CLIP's decays, as published"
    for part, lr in {"backbone": 0.05, "clip": 0.001, "sem_seg_head": 0.1, "clip_like": 0.1}.items():
        assert rates.pop(f"{part}.conv.weight") == pytest.approx((lr, 0.2))
        assert rates.pop(f"{part}.conv.bias") == pytest.approx((lr, 0.2))
        norms = ("batch_norm.weight", "batch_norm.bias", "group_norm.weight", "group_norm.bias", "layer_norm.weight",
                 "layer_norm.bias", "rms_norm.weight", "timm_rms_norm.weight")  # fmt: skip
        for norm in norms:
            assert rates.pop(f"{part}.{norm}") == pytest.approx((lr, 0.03))
        assert rates.pop(f"{part}.embedding.weight") == pytest.approx((lr, 0.004))
        del rates[f"{part}.position_embedding"]
    assert not rates, "frozen or shared parameters are listed too"


def test_a_multiplier_of_0_is_logged(cfg, caplog):
    cfg.SOLVER.CLIP_MULTIPLIER = 0.0
    with caplog.at_level(logging.INFO):
        build_optimizer(cfg, Model())
    assert "SOLVER.CLIP_MULTIPLIER is 0: clip is frozen" in caplog.text
    assert "BACKBONE" not in caplog.text


# What of each backbone does not decay beside norms, where numbers stand for all numbers. In the authors' recipes these
# are positions, tokens and scales.
UNDECAYED = {
    "D2SwinTransformer": {"layers.#.blocks.#.attn.relative_position_bias_table"},
    "CvT": {"stages.#.cls_token"},
    "MPViT": set(),
    "TwinsPCPVT": {"stages.#.pos_block.proj.#.weight", "stages.#.pos_block.proj.#.bias"},
    "TwinsSVT": {"stages.#.pos_block.proj.#.weight", "stages.#.pos_block.proj.#.bias"},
    "VAN": {"stages.#.blocks.#.layer_scale_#"},
    "ViTAdapter": {"pos_embed", "level_embed", "blocks.#.ls#.gamma", "interactions.#.injector.gamma"},
    "convnext_atto": {"stages.#.blocks.#.gamma"},
    "vit_wee_patch16_reg1_gap_256": {"pos_embed", "reg_token", "blocks.#.ls#.gamma"},
    "levit_128s": {
        "stages.#.blocks.#.attn.attention_biases", "stages.#.downsample.attn_downsample.attention_biases",
    },
    "mambaout_femto": set(),
}  # fmt: skip


def build_backbone(name):
    """A backbone without memory: the first size of a family, or a timm model."""
    with torch.device("meta"):
        if name == "D2SwinTransformer":
            return backbones.D2SwinTransformer(
                embed_dim=8, depths=[2], num_heads=[1], window_size=4, out_features=["res2"]
            )
        if hasattr(backbones, name):
            family = getattr(backbones, name)
            return family(**next(iter(family.sizes.values())))
        return backbones.TimmBackbone(name=name)


@pytest.mark.parametrize("name", UNDECAYED)
def test_backbones_decay_as_their_authors_have_it(cfg, name):
    model = nn.ModuleDict({"backbone": build_backbone(name)})
    norms = {key for key, module in model.named_modules() if "Norm" in type(module).__name__}
    undecayed = set()
    for parameter, (_, decay) in rates_by_name(model, build_optimizer(cfg, model).param_groups).items():
        if parameter.rpartition(".")[0] in norms:
            assert decay == 0.03, parameter
        elif decay != 0.2:
            assert decay == 0.004, parameter
            own = parameter.removeprefix("backbone.").rpartition(".model.")[2]
            undecayed.add(re.sub(r"\d+", "#", own))
    assert undecayed == UNDECAYED[name]


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


def test_detectron2_clip_types_work_too(cfg):
    first, second = step_with_clipping(cfg, "value", [3.0, 0.5])
    torch.testing.assert_close(first, torch.full((2,), 1.0))
    torch.testing.assert_close(second, torch.full((2,), 0.5))
    first, second = step_with_clipping(cfg, "norm", [3.0, 0.5])
    torch.testing.assert_close(first, torch.full((2,), 0.5**0.5))
    torch.testing.assert_close(second, torch.full((2,), 0.5))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("OPTIMIZER", "ADAM", r"SOLVER\.OPTIMIZER is 'ADAM', expected one of"),
        ("CLIP_MULTIPLIER", -0.1, r"SOLVER\.CLIP_MULTIPLIER is -0\.1, expected a number of at least 0"),
        ("BACKBONE_MULTIPLIER", float("nan"), r"SOLVER\.BACKBONE_MULTIPLIER is nan, expected a number of at least 0"),
        ("BASE_LR", -0.1, r"SOLVER\.BASE_LR is -0\.1, expected a number of at least 0"),
        ("WEIGHT_DECAY_EMBED", -1.0, r"SOLVER\.WEIGHT_DECAY_EMBED is -1\.0, expected a number of at least 0"),
        ("CLIP_GRADIENTS.CLIP_TYPE", "all", r"SOLVER\.CLIP_GRADIENTS\.CLIP_TYPE is 'all', expected one of"),
        ("CLIP_GRADIENTS.CLIP_VALUE", -1.0, r"SOLVER\.CLIP_GRADIENTS\.CLIP_VALUE is -1\.0, expected a number above 0"),
    ],
)
def test_values_that_cannot_be_used_are_an_error(cfg, key, value, message):
    cfg.merge_from_list(["SOLVER.CLIP_GRADIENTS.ENABLED", True, f"SOLVER.{key}", value])
    with pytest.raises(ValueError, match=message):
        build_optimizer(cfg, Model())
