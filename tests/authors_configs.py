"""Configs in the form of the authors' repository: a file that others inherit, and one for each of three models."""

from pathlib import Path
from typing import Any

import yaml

COMMON: dict[str, Any] = {
    "VERSION": 2,
    "CUDNN_BENCHMARK": True,
    "MODEL": {
        "META_ARCHITECTURE": "CATSeg",
        "PIXEL_MEAN": [123.675, 116.28, 103.53],
        "PIXEL_STD": [58.395, 57.12, 57.375],
        "PROMPT_ENSEMBLE_TYPE": "imagenet",
        "SEM_SEG_HEAD": {
            "NAME": "CATSegHead",
            "IN_FEATURES": ["res2", "res3", "res4"],
            "IGNORE_VALUE": 255,
            "NUM_CLASSES": 171,
            "TRAIN_CLASS_JSON": "datasets/coco.json",
            "TEST_CLASS_JSON": "datasets/coco.json",
            "CLIP_PRETRAINED": "ViT-L/14@336px",
            "CLIP_FINETUNE": "attention",
            "TEXT_GUIDANCE_DIM": 768,
            "APPEARANCE_GUIDANCE_DIM": 768,
            "NUM_LAYERS": 4,
            "POOLING_SIZES": [6, 6],
            "PROMPT_DEPTH": 0,
            "PROMPT_LENGTH": 0,
        },
    },
    "DATASETS": {
        "TRAIN": "('coco_2017_train_stuff_all_sem_seg',)",
        "TEST": "('coco_2017_test_stuff_all_sem_seg',)",
    },
    "SOLVER": {
        "IMS_PER_BATCH": 4,
        "BASE_LR": 0.0002,
        "MAX_ITER": 80000,
        "WARMUP_FACTOR": 1.0,
        "WARMUP_ITERS": 0,
        "WEIGHT_DECAY": 0.0001,
        "OPTIMIZER": "ADAMW",
        "LR_SCHEDULER_NAME": "WarmupCosineLR",
        "BACKBONE_MULTIPLIER": 0.01,
        "CLIP_MULTIPLIER": 0.01,
        "CLIP_GRADIENTS": {"ENABLED": True, "CLIP_TYPE": "full_model", "CLIP_VALUE": 0.01, "NORM_TYPE": 2.0},
    },
    "INPUT": {
        "MIN_SIZE_TRAIN": "(384, )",
        "MIN_SIZE_TRAIN_SAMPLING": "choice",
        "MIN_SIZE_TEST": 640,
        "MAX_SIZE_TEST": 2560,
        "CROP": {"ENABLED": True, "TYPE": "absolute", "SIZE": "(384, 384)", "SINGLE_CATEGORY_MAX_AREA": 1.0},
        "COLOR_AUG_SSD": True,
        "SIZE_DIVISIBILITY": 384,
        "FORMAT": "RGB",
        "DATASET_MAPPER_NAME": "mask_former_semantic",
    },
    "TEST": {"EVAL_PERIOD": 5000, "SLIDING_WINDOW": False},
    "DATALOADER": {"FILTER_EMPTY_ANNOTATIONS": True, "NUM_WORKERS": 8},
}
_HEAD = {"NUM_LAYERS": 2, "POOLING_SIZES": [2, 2]}
MODELS: dict[str, dict[str, Any]] = {
    "v1_base": {
        "MODEL": {
            "BACKBONE": {"NAME": "build_resnet_backbone", "FREEZE_AT": 0},
            "RESNETS": {
                "DEPTH": 101,
                "STEM_TYPE": "basic",
                "STRIDE_IN_1X1": False,
                "OUT_FEATURES": ["res2", "res3", "res4"],
            },
            "WEIGHTS": "R-101.pkl",
            "SEM_SEG_HEAD": {**_HEAD, "CLIP_PRETRAINED": "ViT-B/16", "DECODER_GUIDANCE_DIMS": [512, 256]},
        },
        "SOLVER": {"BACKBONE_MULTIPLIER": 0.01},
    },
    "v1_large": {
        "MODEL": {
            "BACKBONE": {"NAME": "D2SwinTransformer", "FREEZE_AT": 0},
            "SWIN": {
                "EMBED_DIM": 128,
                "DEPTHS": [2, 2, 18],
                "NUM_HEADS": [4, 8, 16],
                "WINDOW_SIZE": 12,
                "APE": False,
                "DROP_PATH_RATE": 0.3,
                "PATCH_NORM": True,
                "PRETRAIN_IMG_SIZE": 384,
                "OUT_FEATURES": ["res2", "res3", "res4"],
            },
            "WEIGHTS": "swin_base_patch4_window12_384_22k.pkl",
            "SEM_SEG_HEAD": {**_HEAD, "APPEARANCE_GUIDANCE_DIM": 512},
        },
        "SOLVER": {"BACKBONE_MULTIPLIER": 0.0},
    },
    "v2_base": {
        "MODEL": {
            "PROMPT_ENSEMBLE_TYPE": "single",
            "SEM_SEG_HEAD": {**_HEAD, "CLIP_PRETRAINED": "ViT-B/16", "TEXT_GUIDANCE_DIM": 512},
        },
        "SOLVER": {"BACKBONE_MULTIPLIER": 0.0},
    },
    "v2_large": {
        "MODEL": {"PROMPT_ENSEMBLE_TYPE": "single", "SEM_SEG_HEAD": _HEAD},
        "SOLVER": {"BACKBONE_MULTIPLIER": 0.0},
    },
}
EVALUATION = (
    "MODEL.SEM_SEG_HEAD.TEST_CLASS_JSON", "datasets/ade150.json",
    "DATASETS.TEST", '("ade20k_150_test_sem_seg",)',
    "TEST.SLIDING_WINDOW", "True",
    "MODEL.SEM_SEG_HEAD.POOLING_SIZES", "[1,1]",
)  # fmt: skip


def write_authors_config(folder: Path, model: str) -> Path:
    """Write the config of a model, a key of `MODELS`, and the one that it inherits; returns the path of the former."""
    (folder / "config.yaml").write_text(yaml.safe_dump(COMMON))
    path = folder / f"{model}.yaml"
    path.write_text(yaml.safe_dump({"_BASE_": "config.yaml", **MODELS[model]}))
    return path
