"""Facts about the authors' code for `official_config`: its keys beside Detectron2's, their defaults and values."""

from typing import Any

# Keys that this project does not have; those from LOSS_TYPE on are of Detectron2's DeepLab project.
KEYS: dict[str, Any] = {
    "DATASETS.VAL_ALL": ("coco_2017_val_all_stuff_sem_seg",),
    "INPUT.DATASET_MAPPER_NAME": "mask_former_semantic",
    "INPUT.SIZE_DIVISIBILITY": -1,
    "MODEL.CLIP_PIXEL_MEAN": [122.7709383, 116.7460125, 104.09373615],
    "MODEL.CLIP_PIXEL_STD": [68.5005327, 66.6321579, 70.3231630],
    "MODEL.MASK_FORMER.SIZE_DIVISIBILITY": 32,
    "MODEL.PROMPT_ENSEMBLE": False,
    "MODEL.PROMPT_ENSEMBLE_TYPE": "single",
    "MODEL.SEM_SEG_HEAD.APPEARANCE_GUIDANCE_DIM": 512,
    "MODEL.SEM_SEG_HEAD.CLIP_FINETUNE": "attention",
    "MODEL.SEM_SEG_HEAD.CLIP_PRETRAINED": "ViT-B/16",
    "MODEL.SEM_SEG_HEAD.DECODER_GUIDANCE_DIMS": [256, 128],
    "MODEL.SEM_SEG_HEAD.PROMPT_DEPTH": 0,
    "MODEL.SEM_SEG_HEAD.PROMPT_LENGTH": 0,
    "MODEL.SEM_SEG_HEAD.TEST_CLASS_INDEXES": "datasets/coco/coco_stuff/split/unseen_indexes.json",
    "MODEL.SEM_SEG_HEAD.TEST_CLASS_JSON": "datasets/ADE20K_2021_17_01/ADE20K_847.json",
    "MODEL.SEM_SEG_HEAD.TEXT_GUIDANCE_DIM": 512,
    "MODEL.SEM_SEG_HEAD.TRAIN_CLASS_INDEXES": "datasets/coco/coco_stuff/split/seen_indexes.json",
    "MODEL.SEM_SEG_HEAD.TRAIN_CLASS_JSON": "datasets/ADE20K_2021_17_01/ADE20K_847.json",
    "MODEL.SWIN.APE": False,
    "MODEL.SWIN.ATTN_DROP_RATE": 0.0,
    "MODEL.SWIN.DROP_RATE": 0.0,
    "MODEL.SWIN.PATCH_NORM": True,
    "MODEL.SWIN.PATCH_SIZE": 4,
    "MODEL.SWIN.PRETRAIN_IMG_SIZE": 224,
    "MODEL.SWIN.QKV_BIAS": True,
    "MODEL.SWIN.QK_SCALE": None,
    "MODEL.SEM_SEG_HEAD.LOSS_TYPE": "hard_pixel_mining",
    "MODEL.SEM_SEG_HEAD.PROJECT_FEATURES": ["res2"],
    "MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS": [48],
    "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS": 256,
    "MODEL.SEM_SEG_HEAD.ASPP_DILATIONS": [6, 12, 18],
    "MODEL.SEM_SEG_HEAD.ASPP_DROPOUT": 0.1,
    "MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV": False,
    "MODEL.RESNETS.RES4_DILATION": 1,
    "MODEL.RESNETS.RES5_MULTI_GRID": [1, 2, 4],
    "MODEL.RESNETS.STEM_TYPE": "deeplab",
    "SOLVER.POLY_LR_CONSTANT_ENDING": 0.0,
    "SOLVER.POLY_LR_POWER": 0.9,
}
# Keys of both projects.
SHARED_KEYS: dict[str, Any] = {
    "INPUT.COLOR_AUG_SSD": False,
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": 1.0,
    "MODEL.SEM_SEG_HEAD.APPEARANCE_GUIDANCE_PROJ_DIM": 128,
    "MODEL.SEM_SEG_HEAD.ATTENTION_TYPE": "linear",
    "MODEL.SEM_SEG_HEAD.DECODER_DIMS": [64, 32],
    "MODEL.SEM_SEG_HEAD.DECODER_GUIDANCE_PROJ_DIMS": [32, 16],
    "MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION": [24, 24],
    "MODEL.SEM_SEG_HEAD.HIDDEN_DIMS": 128,
    "MODEL.SEM_SEG_HEAD.NUM_HEADS": 4,
    "MODEL.SEM_SEG_HEAD.NUM_LAYERS": 4,
    "MODEL.SEM_SEG_HEAD.POOLING_SIZES": [6, 6],
    "MODEL.SEM_SEG_HEAD.TEXT_GUIDANCE_PROJ_DIM": 128,
    "MODEL.SEM_SEG_HEAD.WINDOW_SIZES": 12,
    "MODEL.SWIN.DEPTHS": [2, 2, 6, 2],
    "MODEL.SWIN.DROP_PATH_RATE": 0.3,
    "MODEL.SWIN.EMBED_DIM": 96,
    "MODEL.SWIN.MLP_RATIO": 4.0,
    "MODEL.SWIN.NUM_HEADS": [3, 6, 12, 24],
    "MODEL.SWIN.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.SWIN.WINDOW_SIZE": 7,
    "SOLVER.BACKBONE_MULTIPLIER": 0.1,
    "SOLVER.CLIP_MULTIPLIER": 0.01,
    "SOLVER.OPTIMIZER": "ADAMW",
    "SOLVER.WEIGHT_DECAY_EMBED": 0.0,
    "TEST.SLIDING_WINDOW": False,
}
# Keys that are declared there and used nowhere in CAT-Seg.
NOT_READ = (
    "DATASETS.VAL_ALL",
    "MODEL.PROMPT_ENSEMBLE",
    "MODEL.SEM_SEG_HEAD.TEST_CLASS_INDEXES",
    "MODEL.SEM_SEG_HEAD.TRAIN_CLASS_INDEXES",
    "MODEL.SEM_SEG_HEAD.LOSS_TYPE",
    "MODEL.SEM_SEG_HEAD.PROJECT_FEATURES",
    "MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS",
    "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS",
    "MODEL.SEM_SEG_HEAD.ASPP_DILATIONS",
    "MODEL.SEM_SEG_HEAD.ASPP_DROPOUT",
    "MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV",
    "MODEL.RESNETS.RES4_DILATION",
    "MODEL.RESNETS.RES5_MULTI_GRID",
    "MODEL.RESNETS.STEM_TYPE",
    "SOLVER.POLY_LR_CONSTANT_ENDING",
    "SOLVER.POLY_LR_POWER",
)

Ours = dict[str, Any]  # values by the full names of our keys

# The values that are possible, of keys that take one of a few, and what each is here.
CHOICES: dict[str, dict[Any, Ours]] = {
    "INPUT.DATASET_MAPPER_NAME": {"mask_former_semantic": {}},
    "INPUT.FORMAT": {"RGB": {}},
    "MODEL.META_ARCHITECTURE": {name: {"MODEL.META_ARCHITECTURE": "CATSeg"} for name in ("CATSeg", "CATSegDemo")},
    "MODEL.PROMPT_ENSEMBLE_TYPE": {
        name: {"MODEL.CLIP.TEMPLATES": name} for name in ("imagenet", "imagenet_select", "single")
    },
    "MODEL.SEM_SEG_HEAD.NAME": {"CATSegHead": {}},
    "SOLVER.LR_SCHEDULER_NAME": {
        name: {} for name in ("WarmupCosineLR", "WarmupMultiStepLR", "WarmupStepWithFixedGammaLR")
    },
    "TEST.AUG.ENABLED": {False: {}},  # there, sizes of images before they are resized to 640 x 640
    "TEST.PRECISE_BN.ENABLED": {False: {}},
}
_SWIN: dict[str, dict[Any, Ours]] = {
    "MODEL.SWIN.APE": {False: {}},
    "MODEL.SWIN.ATTN_DROP_RATE": {0.0: {}},
    "MODEL.SWIN.DROP_RATE": {0.0: {}},
    "MODEL.SWIN.PATCH_NORM": {True: {}},
    "MODEL.SWIN.PATCH_SIZE": {4: {}},
    "MODEL.SWIN.QKV_BIAS": {True: {}},
    "MODEL.SWIN.QK_SCALE": {None: {}},
}


def _clip(name: str, weights: str, image_size: int) -> Ours:
    return {"MODEL.CLIP.NAME": name, "MODEL.CLIP.WEIGHTS": weights, "MODEL.CLIP.IMAGE_SIZE": image_size}


def _finetuning(**modes: str) -> dict[Any, Ours]:
    frozen = dict.fromkeys(("", "freeze", "frozen", "none"), "none")
    return {mode: {"MODEL.CLIP.FINETUNE": ours} for mode, ours in {**modes, **frozen}.items()}


_OPENAI = {
    "ViT-B/16": _clip("ViT-B-16-quickgelu", "openai", 0),
    "ViT-L/14": _clip("ViT-L-14-quickgelu", "openai", 0),
    "ViT-L/14@336px": _clip("ViT-L-14-336-quickgelu", "openai", 0),
}
OPENCLIP = {
    "ViT-H": _clip("ViT-H-14", "laion2b_s32b_b79k", 336),
    "ViT-G": _clip("ViT-bigG-14", "laion2b_s39b_b160k", 336),
}
_VERSION = {
    version: {
        "MODEL.CLIP.CLASS_TOKEN_RESIDUAL": version == 2,
        "MODEL.CLIP.FIRST_SYNONYM_ONLY": version == 2,
        "MODEL.SEM_SEG_HEAD.CLASS_TOKENS": 256 if version == 2 else 0,
    }
    for version in (1, 2)
}
# Of version 1, FREEZE_AT: its multiplier alone decides whether the backbone trains, all of it or nothing.
_VERSION_1 = {"MODEL.BACKBONE.FREEZE_AT": 0, **_VERSION[1]}
_VERSION_2 = {"MODEL.BACKBONE.NAME": "", "MODEL.SEM_SEG_HEAD.IN_FEATURES": ["res2", "res3", "res4"], **_VERSION[2]}
RESNET, SWIN = "build_resnet_backbone", "D2SwinTransformer"
# The same for each version. Version 2 has no backbone, whatever the default of its name is.
CHOICES_OF_VERSION: dict[int, dict[str, dict[Any, Ours]]] = {
    1: {
        "MODEL.BACKBONE.NAME": {SWIN: _VERSION_1, RESNET: _VERSION_1},
        "MODEL.SEM_SEG_HEAD.CLIP_FINETUNE": _finetuning(attention="attention", full="full", prompt="prompt"),
        "MODEL.SEM_SEG_HEAD.CLIP_PRETRAINED": {**_OPENAI, **OPENCLIP},
    },
    2: {
        "MODEL.BACKBONE.NAME": {"": _VERSION_2, RESNET: _VERSION_2},
        # What version 2 calls attention is queries and values.
        "MODEL.SEM_SEG_HEAD.CLIP_FINETUNE": _finetuning(attention="query_value"),
        "MODEL.SEM_SEG_HEAD.CLIP_PRETRAINED": _OPENAI,
    },
}
CHOICES_OF_BACKBONE: dict[str, dict[str, dict[Any, Ours]]] = {SWIN: _SWIN}

# The class lists in the authors' `datasets/`, as vocabularies that come with this project.
VOCABULARIES = {
    "ADE20K_847.json": "ade20k_847",
    "ade150.json": "ade20k_150",
    "ade847.json": "ade20k_847",
    "coco.json": "coco_stuff_171",
    "pc459.json": "pascal_context_459",
    "pc59.json": "pascal_context_59",
    "voc20.json": "pascal_voc_20",
    "voc20b.json": "pascal_voc_20b",
}
# The files of backbone weights that the authors' configs name, as what they are converted from.
BACKBONE_WEIGHTS = {
    "R-101.pkl": "https://download.pytorch.org/models/resnet101-63fe2227.pth",
    "swin_base_patch4_window12_384_22k.pkl": (
        "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_base_patch4_window12_384_22k.pth"
    ),
}
