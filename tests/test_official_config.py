"""Configs of the authors' code against this project's own configs of the same models."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from catseg.config import load_config, read_config
from catseg.config_values import flat
from catseg.errors import InputError
from catseg.official_config import is_official, translate
from catseg.official_keys import KEYS, NOT_READ, SHARED_KEYS
from tests.authors_configs import COMMON, EVALUATION, MODELS, write_authors_config

HEAD = "MODEL.SEM_SEG_HEAD."
OURS = dict(flat(load_config("configs/base.yaml")))
# Where the authors' files say otherwise than ours, which evaluate in training as is published.
EXPECTED_DIFFERENCES = {
    "DATASETS.TEST": ("coco_2017_test_stuff_all_sem_seg",),
    "DATASETS.TEST_CLASSES": "coco_stuff_171",
    "DATASETS.TRAIN_CLASSES": "coco_stuff_171",
    f"{HEAD}NUM_CLASSES": 171,
    f"{HEAD}POOLING_SIZES_TEST": [2, 2],
    "OUTPUT_DIR": "./output",
    "SOLVER.CHECKPOINTS_KEPT": 0,
    "TEST.SLIDING_WINDOW": False,
}
# Sections that are not read, by the name of the backbone.
UNREAD = {
    "": ("MODEL.BACKBONE.FREEZE_AT", "MODEL.RESNETS.", "MODEL.SWIN."),
    "D2SwinTransformer": ("MODEL.RESNETS.",),
    "build_resnet_backbone": ("MODEL.SWIN.",),
}


def given(model: str, **changes: Any) -> dict[str, Any]:
    """What a config of the authors says, as flat keys; in `changes`, `__` stands for the dots."""
    written = {**dict(flat(COMMON)), **dict(flat(MODELS[model]))}
    return written | {key.replace("__", "."): value for key, value in changes.items()}


def translated(model: str, **changes: Any) -> dict[str, Any]:
    return dict(translate(given(model, **changes), known=OURS, is_file=lambda _: False).values)


@pytest.mark.parametrize("model", MODELS)
def test_authors_files_are_our_configs(tmp_path: Path, model: str) -> None:
    theirs = dict(flat(load_config(write_authors_config(tmp_path, model))))
    ours = dict(flat(load_config(f"configs/catseg_{model}.yaml")))
    different = {key: value for key, value in theirs.items() if value != ours[key]}
    for key in list(different):
        if key.startswith(UNREAD[ours["MODEL.BACKBONE.NAME"]]):
            del different[key]
    assert different == EXPECTED_DIFFERENCES


@pytest.mark.parametrize("model", MODELS)
def test_authors_evaluation_is_ours(tmp_path: Path, model: str) -> None:
    theirs = load_config(write_authors_config(tmp_path, model), EVALUATION)
    ours = load_config(f"configs/catseg_{model}.yaml")
    assert (theirs.TEST.SLIDING_WINDOW, theirs.TEST.SLIDING_SIZE) == (True, [640, 640])
    assert theirs.MODEL.SEM_SEG_HEAD.POOLING_SIZES_TEST == ours.MODEL.SEM_SEG_HEAD.POOLING_SIZES_TEST == [1, 1]
    assert theirs.DATASETS.TEST == ours.DATASETS.TEST
    assert theirs.DATASETS.TEST_CLASSES == "ade20k_150"
    assert theirs.MODEL.CLIP == ours.MODEL.CLIP


def test_keys_that_are_absent_have_the_authors_defaults() -> None:
    minimal = {
        "INPUT.FORMAT": "RGB",
        "MODEL.META_ARCHITECTURE": "CATSeg",
        f"{HEAD}NAME": "CATSegHead",
        f"{HEAD}PROMPT_DEPTH": 0,
    }
    values = translate(minimal, known=OURS).values
    assert values["MODEL.CLIP.NAME"] == "ViT-B-16-quickgelu"
    assert values["MODEL.CLIP.TEMPLATES"] == "single"
    assert values["MODEL.PIXEL_STD"] == [1.0, 1.0, 1.0]  # Detectron2's
    assert (values[f"{HEAD}NUM_LAYERS"], values[f"{HEAD}POOLING_SIZES"]) == (4, [6, 6])
    assert (values["TEST.SLIDING_WINDOW"], values["INPUT.COLOR_AUG_SSD"]) == (False, False)
    assert values["SOLVER.BACKBONE_MULTIPLIER"] == 0.1
    assert (values["DATASETS.TEST_CLASSES"], values["DATASETS.TRAIN_CLASSES"]) == ("", "")


@pytest.mark.parametrize(
    ("model", "changes", "expected"),
    [
        (
            "v1_large",
            {"MODEL__SEM_SEG_HEAD__CLIP_PRETRAINED": "ViT-H", "MODEL__SEM_SEG_HEAD__PROMPT_DEPTH": 3},
            {
                "MODEL.CLIP.NAME": "ViT-H-14",
                "MODEL.CLIP.WEIGHTS": "laion2b_s32b_b79k",
                "MODEL.CLIP.IMAGE_SIZE": 336,
                "MODEL.CLIP.PROMPT_DEPTH": 0,
            },
        ),
        (
            "v1_large",
            {"MODEL__SEM_SEG_HEAD__CLIP_PRETRAINED": "ViT-G"},
            {"MODEL.CLIP.NAME": "ViT-bigG-14", "MODEL.CLIP.WEIGHTS": "laion2b_s39b_b160k"},
        ),
        ("v2_base", {"MODEL__SEM_SEG_HEAD__CLIP_PRETRAINED": "ViT-L/14"}, {"MODEL.CLIP.NAME": "ViT-L-14-quickgelu"}),
        (
            "v1_base",
            {
                "MODEL__SEM_SEG_HEAD__CLIP_FINETUNE": "prompt",
                "MODEL__SEM_SEG_HEAD__PROMPT_DEPTH": "4",
                "MODEL__SEM_SEG_HEAD__PROMPT_LENGTH": 8,
            },
            {"MODEL.CLIP.FINETUNE": "prompt", "MODEL.CLIP.PROMPT_DEPTH": 4, "MODEL.CLIP.PROMPT_LENGTH": 8},
        ),
        ("v2_base", {"MODEL__SEM_SEG_HEAD__CLIP_FINETUNE": "attention"}, {"MODEL.CLIP.FINETUNE": "query_value"}),
        ("v2_base", {"MODEL__SEM_SEG_HEAD__CLIP_FINETUNE": None}, {"MODEL.CLIP.FINETUNE": "none"}),
        ("v1_base", {"MODEL__SEM_SEG_HEAD__CLIP_FINETUNE": "frozen"}, {"MODEL.CLIP.FINETUNE": "none"}),
        ("v1_base", {"MODEL__PROMPT_ENSEMBLE_TYPE": "imagenet_select"}, {"MODEL.CLIP.TEMPLATES": "imagenet_select"}),
        ("v1_base", {"MODEL__META_ARCHITECTURE": "CATSegDemo"}, {"MODEL.META_ARCHITECTURE": "CATSeg"}),
        ("v1_base", {"MODEL__CLIP_PIXEL_MEAN": 0, "MODEL__CLIP_PIXEL_STD": [255, 255, 255]}, {
            "MODEL.CLIP.PIXEL_MEAN": [0.0, 0.0, 0.0], "MODEL.CLIP.PIXEL_STD": [255.0, 255.0, 255.0]}),
        ("v1_large", {"MODEL__BACKBONE__FREEZE_AT": 2}, {"MODEL.BACKBONE.FREEZE_AT": 0}),
        ("v1_large", {"MODEL__SEM_SEG_HEAD__LOSS_WEIGHT": 3}, {f"{HEAD}LOSS_WEIGHT": 1.0}),
        ("v1_large", {"SOLVER__CLIP_GRADIENTS__CLIP_VALUE": 0}, {"SOLVER.CLIP_GRADIENTS.ENABLED": False}),
        ("v1_large", {"SOLVER__CLIP_GRADIENTS__NORM_TYPE": 1}, {"SOLVER.CLIP_GRADIENTS.NORM_TYPE": 2.0}),
        ("v1_large", {"SOLVER__AMP__ENABLED": True}, {"SOLVER.AMP.DTYPE": "float16"}),
        ("v1_large", {"MODEL__SEM_SEG_HEAD__POOLING_SIZES": [3, 1]}, {f"{HEAD}POOLING_SIZES_TEST": [3, 1]}),
        ("v2_large", {"MODEL__SEM_SEG_HEAD__POOLING_SIZES_TEST": [4, 4]}, {f"{HEAD}POOLING_SIZES_TEST": [4, 4]}),
        ("v2_large", {"MODEL__WEIGHTS": "model.pth"}, {"MODEL.WEIGHTS": "model.pth"}),
        ("v2_large", {"MODEL__CLIP__WEIGHTS": "mine.pt", "TEST__DTYPE": "bfloat16"}, {
            "MODEL.CLIP.WEIGHTS": "mine.pt", "TEST.DTYPE": "bfloat16"}),
    ],
)  # fmt: skip
def test_values_are_translated(model: str, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    values = translated(model, **changes)
    assert {key: values[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("model", "key", "value", "reason"),
    [
        ("v1_large", "CLIP_PRETRAINED", "RN50", "possible with version 1: 'ViT-B/16', 'ViT-L/14',"),
        ("v2_large", "CLIP_PRETRAINED", "ViT-H", "possible with version 2: 'ViT-B/16',"),
        ("v1_large", "CLIP_FINETUNE", "lora", "'attention', 'full', 'prompt'"),
        ("v2_base", "CLIP_FINETUNE", "full", "version 2: 'attention',"),
        ("v1_large", "NAME", "OpenVocabHead", "'CATSegHead'"),
        ("v1_large", "TEXT_GUIDANCE_DIM", 0, "without this guidance"),
        ("v1_large", "DECODER_GUIDANCE_PROJ_DIMS", [0, 0], "without this guidance"),
        ("v1_large", "MODEL.META_ARCHITECTURE", "PartCATSeg", "'CATSeg', 'CATSegDemo'"),
        ("v1_large", "MODEL.PROMPT_ENSEMBLE_TYPE", "imagenet80", "'imagenet'"),
        (
            "v1_large",
            "MODEL.BACKBONE.NAME",
            "build_resnet_deeplab_backbone",
            "'D2SwinTransformer', 'build_resnet_backbone'",
        ),
        ("v1_large", "MODEL.SWIN.APE", True, "version 1: False"),
        ("v1_large", "MODEL.SWIN.QK_SCALE", 0.5, "version 1: None"),
        ("v1_large", "MODEL.MASK_FORMER.SIZE_DIVISIBILITY", 100, "would be padded"),
        ("v1_large", "INPUT.SIZE_DIVISIBILITY", 640, r"which is \[384, 384\]"),
        ("v1_large", "INPUT.DATASET_MAPPER_NAME", "detr_panoptic", "'mask_former_semantic'"),
        ("v1_large", "INPUT.FORMAT", "BGR", "'RGB'"),
        ("v1_large", "SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR", "'WarmupCosineLR',"),
        ("v1_large", "TEST.AUG.ENABLED", True, "version 1: False"),
    ],
)
def test_what_cannot_be_honoured_is_named(model: str, key: str, value: Any, reason: str) -> None:
    key = key if "." in key else f"{HEAD}{key}"
    with pytest.raises(InputError, match=rf"^{key} .* of the authors' code cannot be honoured here: .*{reason}"):
        translated(model, **{key.replace(".", "__"): value})


def test_all_that_cannot_be_honoured_is_named_at_once() -> None:
    with pytest.raises(InputError, match=r"UNKNOWN_ID 150 cannot .* has such a key; .*ViT-X") as raised:
        translated("v2_base", MODEL__SEM_SEG_HEAD__UNKNOWN_ID=150, MODEL__SEM_SEG_HEAD__CLIP_PRETRAINED="ViT-X")
    assert "\n" not in str(raised.value)


def test_swin_options_do_not_matter_without_swin() -> None:
    translated("v1_base", MODEL__SWIN__APE=True)
    translated("v2_base", MODEL__SWIN__QKV_BIAS=False)


@pytest.mark.parametrize("model", MODELS)
def test_every_key_of_the_authors_is_accepted_and_accounted_for(model: str) -> None:
    everything = {**SHARED_KEYS, **given(model), **{key: KEYS[key] for key in NOT_READ}}
    translation = translate(everything, known=OURS)
    assert set(translation.values) <= set(OURS)
    translate(KEYS | given(model), known=OURS)
    notes = "\n".join(translation.notes)
    for key in NOT_READ:
        assert f"{key} {KEYS[key]!r} is ignored: the authors' code never reads it" in notes
    assert f"{HEAD}CLIP_PRETRAINED '" in notes
    assert f"{HEAD}POOLING_SIZES [2, 2] -> {HEAD}POOLING_SIZES_TEST [2, 2]" in notes
    assert f"of version {1 if model.startswith('v1') else 2} " in translation.notes[0]


@pytest.mark.parametrize(
    ("name", "there", "expected"),
    [
        ("datasets/ade150.json", False, "ade20k_150"),
        ("/elsewhere/pc459.json", False, "pascal_context_459"),
        ("datasets/voc20b.json", False, "pascal_voc_20b"),
        ("datasets/ade150.json", True, "datasets/ade150.json"),
        ("datasets/landcover.json", False, "datasets/landcover.json"),
        ("", False, ""),
    ],
)
def test_class_lists_are_files_or_vocabularies(name: str, there: bool, expected: str) -> None:
    config = given("v2_base", MODEL__SEM_SEG_HEAD__TEST_CLASS_JSON=name)
    values = translate(config, known=OURS, is_file=lambda path: there and path == name).values
    assert values["DATASETS.TEST_CLASSES"] == expected


def test_backbone_weights_of_the_authors_are_those_that_they_were_made_from() -> None:
    config = given("v1_large")
    assert translate(config, known=OURS).values["MODEL.WEIGHTS"].endswith("/swin_base_patch4_window12_384_22k.pth")
    there = translate(config, known=OURS, is_file=lambda _: True).values
    assert there["MODEL.WEIGHTS"] == "swin_base_patch4_window12_384_22k.pkl"


def test_our_files_are_not_taken_for_the_authors() -> None:
    for path in Path("configs").rglob("*.yaml"):
        assert not read_config(path).notes
    assert is_official(["MODEL.SWIN.APE"])
    assert not is_official(OURS)


def test_keys_of_the_authors_over_our_files_are_answered_with_ours() -> None:
    option = f"{HEAD}TEST_CLASS_JSON"
    with pytest.raises(InputError, match=rf"{option} is a key of the authors' code, .*: write DATASETS.TEST_CLASSES"):
        load_config("configs/catseg_v2_base.yaml", [option, "datasets/ade150.json"])
    with pytest.raises(InputError, match=r"SWIN.APE is a key of the authors' code, .*: leave it out"):
        load_config("configs/catseg_v1_large.yaml", ["MODEL.SWIN.APE", "False"])


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "fork.yaml"
    path.write_text(yaml.safe_dump({"_BASE_": str(write_authors_config(tmp_path, "v2_base")), "SOLVER": {"LORA": 1}}))
    with pytest.raises(InputError, match=r"fork.yaml is not a usable config: SOLVER.LORA 1 cannot be honoured"):
        load_config(path)


def test_what_was_translated_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="catseg.config"):
        load_config(write_authors_config(tmp_path, "v2_large"))
    assert "MODEL.SEM_SEG_HEAD.CLIP_FINETUNE 'attention' -> MODEL.CLIP.FINETUNE 'query_value'" in caplog.text
    assert "MODEL.SEM_SEG_HEAD.TEXT_GUIDANCE_DIM 768 is ignored" in caplog.text
