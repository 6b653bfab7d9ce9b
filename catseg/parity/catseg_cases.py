"""Rebuild the network of a CAT-Seg reference case with this project's own configuration, building and weight import."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg

from catseg.build import build_network
from catseg.checkpoint.official import CAT_SEG
from catseg.config import add_catseg_config
from catseg.modeling.meta_arch import CATSeg
from catseg.parity.case import ReferenceCase, UnsupportedCaseError

CPU = torch.device("cpu")

# What version 2 has in common, whatever the config file says of it.
_VERSION_2: dict[str, Any] = {
    "MODEL.BACKBONE.NAME": "",
    "MODEL.CLIP.CLASS_TOKEN_RESIDUAL": True,
    "MODEL.CLIP.FINETUNE": "query_value",
    "MODEL.CLIP.FIRST_SYNONYM_ONLY": True,
    "MODEL.CLIP.TEMPLATES": "single",
    "MODEL.SEM_SEG_HEAD.CLASS_TOKENS": 256,
    "SOLVER.BACKBONE_MULTIPLIER": 1.0,
}
# The authors' config files, by version of CAT-Seg, as differences to our defaults.
CONFIG_FILES: dict[str, dict[str, dict[str, Any]]] = {
    "v1": {
        "vitl_swinb_384.yaml": {"MODEL.BACKBONE.NAME": "D2SwinTransformer", "MODEL.BACKBONE.FREEZE_AT": 0},
        "vitb_r101_384.yaml": {
            "MODEL.BACKBONE.NAME": "build_resnet_backbone",
            "MODEL.BACKBONE.FREEZE_AT": 0,
            "MODEL.RESNETS.DEPTH": 101,
            "MODEL.RESNETS.STRIDE_IN_1X1": False,
            "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4"],
            "SOLVER.BACKBONE_MULTIPLIER": 0.01,
        },
    },
    "v2": {"vitb_384.yaml": _VERSION_2, "vitl_336.yaml": _VERSION_2},
}
# The authors' option names -> ours, where they differ.
RENAMED_OPTIONS: dict[str, tuple[str, ...]] = {
    "MODEL.SEM_SEG_HEAD.POOLING_SIZES": (
        "MODEL.SEM_SEG_HEAD.POOLING_SIZES",
        "MODEL.SEM_SEG_HEAD.POOLING_SIZES_TEST",
    ),
    "MODEL.SEM_SEG_HEAD.CLIP_FINETUNE": ("MODEL.CLIP.FINETUNE",),
    "MODEL.SEM_SEG_HEAD.PROMPT_DEPTH": ("MODEL.CLIP.PROMPT_DEPTH",),
    "MODEL.SEM_SEG_HEAD.PROMPT_LENGTH": ("MODEL.CLIP.PROMPT_LENGTH",),
    "MODEL.PROMPT_ENSEMBLE_TYPE": ("MODEL.CLIP.TEMPLATES",),
    "MODEL.CLIP_PIXEL_MEAN": ("MODEL.CLIP.PIXEL_MEAN",),
    "MODEL.CLIP_PIXEL_STD": ("MODEL.CLIP.PIXEL_STD",),
    # Given by the case in other places, or derived from the backbone and CLIP. What changes the network all the same
    # shows in its tensors.
    **dict.fromkeys(
        (
            "INPUT.DATASET_MAPPER_NAME",
            "INPUT.SIZE_DIVISIBILITY",
            "MODEL.PROMPT_ENSEMBLE",
            "MODEL.RESNETS.STEM_TYPE",
            "MODEL.SEM_SEG_HEAD.APPEARANCE_GUIDANCE_DIM",
            "MODEL.SEM_SEG_HEAD.CLIP_PRETRAINED",
            "MODEL.SEM_SEG_HEAD.DECODER_GUIDANCE_DIMS",
            "MODEL.SEM_SEG_HEAD.TEST_CLASS_INDEXES",
            "MODEL.SEM_SEG_HEAD.TEST_CLASS_JSON",
            "MODEL.SEM_SEG_HEAD.TEXT_GUIDANCE_DIM",
            "MODEL.SEM_SEG_HEAD.TRAIN_CLASS_INDEXES",
            "MODEL.SEM_SEG_HEAD.TRAIN_CLASS_JSON",
            "MODEL.SWIN.APE",
            "MODEL.SWIN.ATTN_DROP_RATE",
            "MODEL.SWIN.DROP_RATE",
            "MODEL.SWIN.PATCH_NORM",
            "MODEL.SWIN.PATCH_SIZE",
            "MODEL.SWIN.PRETRAIN_IMG_SIZE",
            "MODEL.SWIN.QKV_BIAS",
            "MODEL.SWIN.QK_SCALE",
            "MODEL.WEIGHTS",
            "TEST.SLIDING_WINDOW",
        ),
        (),
    ),
}


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
    model = build_network(catseg_config(case.config, clip_file, device))
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
    options = known[Path(config["config_file"]).name] | {
        "MODEL.DEVICE": str(device),
        "MODEL.WEIGHTS": "",
        "MODEL.CLIP.NAME": str(clip_file),
        "MODEL.CLIP.WEIGHTS": "",
        "MODEL.CLIP.TEXT_CACHE": False,
        "MODEL.PIXEL_MEAN": config["pixel_mean"],
        "MODEL.PIXEL_STD": config["pixel_std"],
        "MODEL.CLIP.PIXEL_MEAN": config["clip_pixel_mean"],
        "MODEL.CLIP.PIXEL_STD": config["clip_pixel_std"],
        "TEST.SLIDING_KERNEL": config["kernel"],
        "TEST.SLIDING_OVERLAP": config["overlap"],
        "TEST.SLIDING_SIZE": [rows, columns],
    }
    for name, value in config["options"].items():
        if name == "MODEL.SEM_SEG_HEAD.CLIP_FINETUNE" and config["version"] == "v2" and value == "attention":
            value = _VERSION_2["MODEL.CLIP.FINETUNE"]  # version 2 calls its own mode so
        options |= dict.fromkeys(RENAMED_OPTIONS.get(name, (name,)), value)
    options["MODEL.SWIN.DROP_PATH_RATE"] = 0.0
    cfg = get_cfg()
    add_catseg_config(cfg)
    try:
        cfg.merge_from_list([word for pair in options.items() for word in pair])
    except (KeyError, AssertionError, ValueError) as error:
        raise UnsupportedCaseError(f"an option of the authors' config is unknown here: {error}") from error
    return cfg
