"""Rebuild the network of a CAT-Seg reference case with this project's own configuration, building and weight import."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from detectron2.config import CfgNode, get_cfg

from catseg.build import build_network
from catseg.checkpoint.official import CAT_SEG
from catseg.config import add_catseg_config
from catseg.config_values import assign, flat
from catseg.modeling.meta_arch import CATSeg
from catseg.official_config import translate
from catseg.parity.case import ReferenceCase, UnsupportedCaseError

CPU = torch.device("cpu")

_IN_COMMON: dict[str, Any] = {
    "INPUT.FORMAT": "RGB",
    "MODEL.META_ARCHITECTURE": "CATSeg",
    "MODEL.SEM_SEG_HEAD.NAME": "CATSegHead",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": ["res2", "res3", "res4"],
    "MODEL.SEM_SEG_HEAD.NUM_LAYERS": 2,
    "MODEL.SEM_SEG_HEAD.POOLING_SIZES": [2, 2],
}
_VERSION_1 = {**_IN_COMMON, "MODEL.PROMPT_ENSEMBLE_TYPE": "imagenet"}
_VERSION_2 = {**_IN_COMMON, "MODEL.PROMPT_ENSEMBLE_TYPE": "single"}
# What the authors' config files say of the network, by version of CAT-Seg, in the authors' keys.
CONFIG_FILES: dict[str, dict[str, dict[str, Any]]] = {
    "v1": {
        "vitl_swinb_384.yaml": {
            **_VERSION_1,
            "MODEL.BACKBONE.NAME": "D2SwinTransformer",
            "MODEL.SWIN.EMBED_DIM": 128,
            "MODEL.SWIN.DEPTHS": [2, 2, 18],
            "MODEL.SWIN.NUM_HEADS": [4, 8, 16],
            "MODEL.SWIN.WINDOW_SIZE": 12,
            "MODEL.SWIN.OUT_FEATURES": ["res2", "res3", "res4"],
            "SOLVER.BACKBONE_MULTIPLIER": 0.0,
        },
        "vitb_r101_384.yaml": {
            **_VERSION_1,
            "MODEL.BACKBONE.NAME": "build_resnet_backbone",
            "MODEL.RESNETS.DEPTH": 101,
            "MODEL.RESNETS.STRIDE_IN_1X1": False,
            "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4"],
            "SOLVER.BACKBONE_MULTIPLIER": 0.01,
        },
    },
    "v2": {"vitb_384.yaml": _VERSION_2, "vitl_336.yaml": _VERSION_2},
}
# Options that a case gives in other places.
_GIVEN_OTHERWISE = (
    "MODEL.SEM_SEG_HEAD.CLIP_PRETRAINED",
    "MODEL.SEM_SEG_HEAD.TEST_CLASS_JSON",
    "MODEL.SEM_SEG_HEAD.TRAIN_CLASS_JSON",
    "MODEL.WEIGHTS",
    "TEST.SLIDING_WINDOW",
)


def build_catseg(case: ReferenceCase, folder: Path, device: torch.device = CPU) -> CATSeg:
    """Build the network of a CAT-Seg case and load its weights.

    Args:
        case: the case.
        folder: where the CLIP model's config file is written.
        device: of the network.

    Returns:
        The network on `device`, in training mode, without drop-path.

    Raises:
        UnsupportedCaseError: if the case asks for something unknown.
        ValueError: if its weights do not fit.
    """
    if case.config["version"] not in CONFIG_FILES:
        raise UnsupportedCaseError(f"version {case.config['version']!r} of CAT-Seg")
    clip_file = folder / "clip.json"
    clip_file.write_text(json.dumps(clip_model_config(case.config["clip"])))
    model = cast(CATSeg, build_network(catseg_config(case.config, clip_file, device)))
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    model.load_state_dict(CAT_SEG.convert(case.state_dict(), expected))
    return model


def clip_model_config(clip: Mapping[str, Any]) -> dict[str, Any]:
    """The open_clip model config of a case's `clip` entry."""
    return {
        "embed_dim": clip["e"],
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": clip["res"],
            "layers": clip["vl"],
            "width": clip["vw"],
            "head_width": 64,
            "patch_size": clip["p"],
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": clip["tw"],
            "heads": clip["tw"] // 64,
            "layers": clip["tl"],
        },
    }


def catseg_config(config: Mapping[str, Any], clip_file: Path, device: torch.device) -> CfgNode:
    """Translate a case's config, which has the authors' names, to ours."""
    known = CONFIG_FILES[config["version"]]
    if Path(config["config_file"]).name not in known:
        raise UnsupportedCaseError(f"config file {config['config_file']!r}; known are {', '.join(known)}")
    rows, columns = config["out_res"]
    official = known[Path(config["config_file"]).name] | {
        key: value for key, value in config["options"].items() if key not in _GIVEN_OTHERWISE
    }
    cfg = get_cfg()
    add_catseg_config(cfg)
    try:
        assign(cfg, translate(official, known=[key for key, _ in flat(cfg)]).values)
    except ValueError as error:
        raise UnsupportedCaseError(f"an option of the authors' config is unknown here: {error}") from error
    assign(
        cfg,
        {
            "MODEL.DEVICE": str(device),
            "MODEL.WEIGHTS": "",
            "MODEL.CLIP.NAME": clip_file,
            "MODEL.CLIP.WEIGHTS": "",
            "MODEL.CLIP.IMAGE_SIZE": 0,
            "MODEL.CLIP.TEXT_CACHE": False,
            "MODEL.PIXEL_MEAN": config["pixel_mean"],
            "MODEL.PIXEL_STD": config["pixel_std"],
            "MODEL.CLIP.PIXEL_MEAN": config["clip_pixel_mean"],
            "MODEL.CLIP.PIXEL_STD": config["clip_pixel_std"],
            "MODEL.SWIN.DROP_PATH_RATE": 0.0,
            "TEST.SLIDING_WINDOW": True,
            "TEST.SLIDING_KERNEL": config["kernel"],
            "TEST.SLIDING_OVERLAP": config["overlap"],
            "TEST.SLIDING_SIZE": [rows, columns],
        },
    )
    return cfg
