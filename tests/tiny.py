"""A CAT-Seg small enough for tests, made of the real parts: options over any config, and the model they give."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from catseg.config import add_catseg_config
from catseg.modeling.meta_arch import CATSeg

CLIP_CONFIG = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def tiny_options(folder: Path) -> dict[str, Any]:
    """Config key to value: everything small, crops of 64 pixels, random weights. Writes a CLIP config to `folder`."""
    clip_file = folder / "tiny_clip.json"
    clip_file.write_text(json.dumps(CLIP_CONFIG))
    return {
        "MODEL.DEVICE": "cpu",
        "MODEL.WEIGHTS": "",
        "MODEL.BACKBONE.NAME": "D2SwinTransformer",
        "MODEL.BACKBONE.FREEZE_AT": 0,
        "MODEL.SWIN.EMBED_DIM": 8,
        "MODEL.SWIN.DEPTHS": [2, 2, 2],
        "MODEL.SWIN.NUM_HEADS": [1, 2, 4],
        "MODEL.SWIN.WINDOW_SIZE": 4,
        "MODEL.CLIP.NAME": str(clip_file),
        "MODEL.CLIP.WEIGHTS": "",
        "MODEL.CLIP.TEMPLATES": "single",
        "MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION": [4, 4],
        "MODEL.SEM_SEG_HEAD.HIDDEN_DIMS": 32,
        "MODEL.SEM_SEG_HEAD.WINDOW_SIZES": 2,
        "MODEL.SEM_SEG_HEAD.TEXT_GUIDANCE_PROJ_DIM": 8,
        "MODEL.SEM_SEG_HEAD.APPEARANCE_GUIDANCE_PROJ_DIM": 8,
        "MODEL.SEM_SEG_HEAD.DECODER_DIMS": [32, 16],
        "MODEL.SEM_SEG_HEAD.DECODER_GUIDANCE_PROJ_DIMS": [8, 8],
        "INPUT.MIN_SIZE_TRAIN": (64,),
        "INPUT.MIN_SIZE_TEST": 0,
        "INPUT.CROP.SIZE": (64, 64),
        "TEST.SLIDING_SIZE": [96, 96],
        "TEST.SLIDING_KERNEL": 64,
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.IMS_PER_BATCH": 2,
    }


def option_words(options: Mapping[str, Any]) -> list[str]:
    """Options as words for a command line."""
    return [str(word) for pair in options.items() for word in pair]


def tiny_config(folder: Path, **overrides: Any) -> CfgNode:
    """Our defaults made tiny. Overrides are config keys with `__` for the dots."""
    options = tiny_options(folder) | {key.replace("__", "."): value for key, value in overrides.items()}
    cfg = get_cfg()
    add_catseg_config(cfg)
    cfg.merge_from_list([word for pair in options.items() for word in pair])
    return cfg


def tiny_model(folder: Path, **overrides: Any) -> CATSeg:
    """A tiny model in evaluation mode with a vocabulary of three classes."""
    model = build_model(tiny_config(folder, **overrides))
    model.set_vocabulary(["wall", "building, edifice", "sky"])
    model.set_train_vocabulary(["person", "grass"])
    return model.eval()
