"""Numbers, lists and names that a config key cannot mean: an error of the user names the key when a model is built.

Values are set as programs set them, without the conversion of `catseg.config.load_config`.
"""

import math
from pathlib import Path
from typing import Any

import pytest
from detectron2.config import CfgNode
from torch import nn

from catseg.build import build_model
from catseg.data.augmentation import build_train_augmentations
from catseg.data.inference_sample import inference_resize
from catseg.engine.optimizer import build_optimizer
from catseg.engine.trainer import Trainer
from catseg.errors import InputError
from tests.tiny import tiny_config

HEAD = "MODEL.SEM_SEG_HEAD."
HUGE = 10**9
NAN, INFINITE = math.nan, math.inf

OF_MODELS: list[tuple[str, Any]] = [
    *((f"MODEL.{part}PIXEL_MEAN", value) for part in ("", "CLIP.") for value in ([], [1.0, 2.0], [NAN, 0.0, 0.0])),
    *((f"MODEL.{part}PIXEL_STD", value) for part in ("", "CLIP.") for value in ([1.0] * 4, [1.0, 0.0, 1.0])),
    *((f"{HEAD}FEATURE_RESOLUTION", value) for value in ([4], [4, 4, 4], [-1, 4], [HUGE, HUGE])),
    *((f"{HEAD}{key}", value) for key in ("NUM_LAYERS", "NUM_HEADS", "HIDDEN_DIMS") for value in (0, HUGE)),
    *((f"{HEAD}TEXT_GUIDANCE_PROJ_DIM", value) for value in (0, HUGE)),
    *((f"{HEAD}APPEARANCE_GUIDANCE_PROJ_DIM", value) for value in (0, -1)),
    *((f"{HEAD}DECODER_DIMS", value) for value in ([], [32], [0, 16], [32, 16, 16], [HUGE, 16])),
    *((f"{HEAD}DECODER_GUIDANCE_PROJ_DIMS", value) for value in ([], [0, 8], [-1, 8], [8, HUGE])),
    *((f"{HEAD}IN_FEATURES", value) for value in ([], ["res4"], ["res4", "res3", "res2"], ["res2", "res2", "res4"])),
    *((f"{HEAD}LOSS_WEIGHT", value) for value in (0.0, -1.0, INFINITE)),
    *((f"{HEAD}POOLING_SIZES", value) for value in ([2], [0, 2], [2, 2, 2])),
    *(("MODEL.CLIP.IMAGE_SIZE", value) for value in (-8, 3, 20, HUGE)),
    *((f"MODEL.CLIP.{key}", "zzz") for key in ("NAME", "WEIGHTS", "TEMPLATES", "FINETUNE")),
    *((f"MODEL.SWIN.{key}", value) for key in ("EMBED_DIM", "WINDOW_SIZE") for value in (0, -1, HUGE)),
    *(("MODEL.SWIN.DEPTHS", value) for value in ([], [2, 2], [0, 2, 2], [HUGE] * 3)),
    *(("MODEL.SWIN.NUM_HEADS", value) for value in ([], [1, 2], [1, 0, 4], [3, 3, 3])),
    *(("MODEL.SWIN.MLP_RATIO", value) for value in (0.0, -1.0, 1e30, NAN)),
    *(("MODEL.SWIN.DROP_PATH_RATE", value) for value in (-0.1, 1.0, NAN)),
    ("MODEL.BACKBONE.FREEZE_AT", -1),
    *(("TEST.SLIDING_SIZE", value) for value in ([96], [96, 96, 96], [-1, 96], [HUGE, HUGE])),
    *(("TEST.SLIDING_KERNEL", value) for value in (0, 1, HUGE)),
    *(("TEST.SLIDING_OVERLAP", value) for value in (-0.1, 1.0, NAN)),
]  # fmt: skip
OF_CLIP_ALONE: list[tuple[str, Any]] = [
    *(("METHOD", value) for value in ("", "zzz", "proxyclip")),
    *((key, value) for key in ("GAUSSIAN_STD", "GAMMA", "LOGIT_SCALE") for value in (0.0, -1.0, NAN, INFINITE)),
    *(("BETA", value) for value in (-0.1, NAN, INFINITE)),
    *(("BACKGROUND_THRESHOLD", value) for value in (-0.1, 1.0, NAN)),
    ("PROXY", "vit_base_patch8_224.dino"),  # of a method that has none
]
OF_PROXY: list[tuple[str, Any]] = [
    ("RESIDUAL", True),
    ("MLP", True),
    ("PROXY", "zzz"),
    ("PROXY_WEIGHTS", "zzz"),
    *(("PROXY_SIZE", value) for value in ([64], [64, 64, 64], [-1, 64], [HUGE, HUGE])),
]
OF_TRAINING: list[tuple[str, Any]] = [
    *(("INPUT.MIN_SIZE_TRAIN", value) for value in ((), (-1,))),
    *(("INPUT.MAX_SIZE_TRAIN", value) for value in (0, -1)),
    *(("INPUT.CROP.SIZE", value) for value in ([0, 64], [-1, -1], [0.5, 0.5], [64.5, 64], [64], [HUGE, HUGE])),
    *(("INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", value) for value in (-0.5, 1.5, NAN)),
    *((f"SOLVER.{key}", value) for key in ("WEIGHT_DECAY", "WEIGHT_DECAY_NORM") for value in (-1.0, NAN, INFINITE)),
    *(("SOLVER.MOMENTUM", value) for value in (-0.1, 1.0, NAN)),
    ("SOLVER.BASE_LR", INFINITE),
    ("SOLVER.BIAS_LR_FACTOR", 2.0),
    ("SOLVER.WEIGHT_DECAY_BIAS", 0.5),
    ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "zzz"),
    *(("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", value) for value in (0.0, -1.0, NAN)),
    *(("SOLVER.CLIP_GRADIENTS.NORM_TYPE", value) for value in (0.0, -1.0)),
    *(("SOLVER.GAMMA", value) for value in (-1.0, NAN)),
    *(("SOLVER.WARMUP_FACTOR", value) for value in (-1.0, INFINITE)),
    ("SOLVER.WARMUP_ITERS", -1),
    ("SOLVER.WARMUP_METHOD", "zzz"),
    ("SOLVER.STEPS", (-1,)),
    ("SOLVER.LR_SCHEDULER_NAME", "zzz"),
    *(("SOLVER.REFERENCE_WORLD_SIZE", value) for value in (-1, 3)),
]


def changed(folder: Path, key: str, value: Any) -> CfgNode:
    cfg = tiny_config(folder)
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = cfg.INPUT.CROP.ENABLED = True
    node = cfg
    *sections, name = key.split(".")
    for section in sections:
        node = node[section]
    assert name in node
    node[name] = value
    return cfg


def prepare_training(cfg: CfgNode) -> None:
    """Make what a training takes of INPUT and SOLVER, but no model."""
    crop = cfg.INPUT.CROP
    build_train_augmentations(
        min_sizes=cfg.INPUT.MIN_SIZE_TRAIN,
        max_size=cfg.INPUT.MAX_SIZE_TRAIN,
        min_size_sampling=cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING,
        crop_size=tuple(crop.SIZE),
        single_category_max_area=crop.SINGLE_CATEGORY_MAX_AREA,
        color=True,
        flip="none",
        ignore_label=255,
    )
    optimizer = build_optimizer(cfg, nn.Linear(1, 1))
    Trainer.build_lr_scheduler(cfg, optimizer)


@pytest.mark.parametrize(("key", "value"), OF_MODELS, ids=str)
def test_a_model_names_what_it_cannot_be_built_of(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(InputError) as raised:
        build_model(changed(tmp_path, key, value), "")
    assert key.rpartition(".")[2] in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [
        *(("naclip", *pair) for pair in OF_CLIP_ALONE),
        *(("proxyclip", *pair) for pair in OF_PROXY),
    ],
    ids=str,
)
def test_clip_alone_names_what_it_cannot_be_built_of(tmp_path: Path, method: str, key: str, value: Any) -> None:
    cfg = changed(tmp_path, "MODEL.META_ARCHITECTURE", "TrainingFreeSegmenter")
    options = cfg.MODEL.TRAINING_FREE
    options.METHOD, options.PROXY, options.PROXY_WEIGHTS = method, "test_vit" * (method == "proxyclip"), ""
    assert key in options
    options[key] = value
    with pytest.raises((InputError, FileNotFoundError)) as raised:
        build_model(cfg, "")
    assert key in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("key", "value"), OF_TRAINING, ids=str)
def test_a_training_names_what_it_cannot_use(tmp_path: Path, key: str, value: Any) -> None:
    cfg = changed(tmp_path, key, value)
    prepare = Trainer if key == "SOLVER.REFERENCE_WORLD_SIZE" else prepare_training
    with pytest.raises(InputError) as raised:
        prepare(cfg)
    assert key.rpartition(".")[2] in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("key", "value"), [("MIN_SIZE_TEST", -1), ("MAX_SIZE_TEST", 0), ("MAX_SIZE_TEST", -1)])
def test_sizes_of_test_images_are_checked(tmp_path: Path, key: str, value: int) -> None:
    with pytest.raises(InputError, match=rf"INPUT\.{key} is {value}, expected a number of at least"):
        inference_resize(changed(tmp_path, f"INPUT.{key}", value))


@pytest.mark.parametrize(("name", "size"), [("VAN", "b0"), ("TimmBackbone", "resnet18")])
@pytest.mark.parametrize("rate", [-0.1, 1.0, NAN])
def test_drop_path_is_a_share(tmp_path: Path, name: str, size: str, rate: float) -> None:
    options = {"MODEL__BACKBONE__NAME": name, "MODEL__BACKBONE__SIZE": size, "MODEL__BACKBONE__DROP_PATH_RATE": rate}
    with pytest.raises(InputError, match=r"MODEL\.BACKBONE\.DROP_PATH_RATE is .*, expected a number of at least 0"):
        build_model(tiny_config(tmp_path, **options), "")


def test_negative_prompts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"MODEL\.CLIP\.PROMPT_DEPTH is -1, expected a number of 0 to"):
        build_model(tiny_config(tmp_path, MODEL__CLIP__PROMPT_DEPTH=-1, MODEL__CLIP__PROMPT_LENGTH=-1), "")


def test_a_range_of_training_sizes_rises(tmp_path: Path) -> None:
    cfg = changed(tmp_path, "INPUT.MIN_SIZE_TRAIN", (96, 64))
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = "range"
    with pytest.raises(InputError, match=r"MIN_SIZE_TRAIN.*the lower one first, got 'range' and \(96, 64\)"):
        prepare_training(cfg)


def test_nesterov_is_honoured(tmp_path: Path) -> None:
    cfg = changed(tmp_path, "SOLVER.OPTIMIZER", "SGD")
    cfg.SOLVER.NESTEROV = True
    assert build_optimizer(cfg, nn.Linear(1, 1)).defaults["nesterov"]
    cfg.SOLVER.MOMENTUM = 0.0
    with pytest.raises(InputError, match=r"SOLVER\.NESTEROV True needs a SOLVER\.MOMENTUM above 0"):
        build_optimizer(cfg, nn.Linear(1, 1))


def test_what_is_right_is_built(tmp_path: Path) -> None:
    cfg = changed(tmp_path, "MODEL.CLIP.IMAGE_SIZE", 16)
    assert isinstance(build_model(cfg, "")[0], nn.Module)
    cfg.SOLVER.CLIP_GRADIENTS.NORM_TYPE = INFINITE
    prepare_training(cfg)
