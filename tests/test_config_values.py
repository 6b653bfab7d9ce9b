"""Config values as people write them, of this project's keys and Detectron2's, in files and on command lines."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from detectron2.config import get_cfg

from catseg.config import add_catseg_config, load_config
from catseg.config_values import FIXED_LENGTH, NONE_IS_A_CHOICE, flat, typed_value
from catseg.errors import InputError
from catseg.official_keys import KEYS

CFG = get_cfg()
add_catseg_config(CFG)
DEFAULTS = dict(flat(CFG))

# Written in a file, and on a command line where that differs.
MEANT: list[tuple[str, Any, Any]] = [
    ("SOLVER.BACKBONE_MULTIPLIER", 0, 0.0),
    ("SOLVER.BASE_LR", "1e-4", 1e-4),  # YAML takes it for text
    ("SOLVER.WARMUP_FACTOR", 1, 1.0),
    ("SOLVER.MAX_ITER", "1e3", 1000),
    ("SOLVER.MAX_ITER", 1000.0, 1000),
    ("SOLVER.STEPS", 5, (5,)),
    ("SOLVER.STEPS", [1e3, "2e3"], (1000, 2000)),
    ("SOLVER.WEIGHT_DECAY_BIAS", "1e-4", 1e-4),
    ("SOLVER.WEIGHT_DECAY_BIAS", None, None),
    ("SEED", "007", 7),
    ("INPUT.COLOR_AUG_SSD", "false", False),
    ("INPUT.CROP.ENABLED", "YES", True),
    ("CUDNN_BENCHMARK", "off", False),
    ("TEST.AUG.ENABLED", 1, True),
    ("INPUT.MIN_SIZE_TRAIN", 64, (64,)),
    ("INPUT.MIN_SIZE_TRAIN", "(64,)", (64,)),
    ("INPUT.MIN_SIZE_TRAIN", [64, 96], (64, 96)),
    ("INPUT.CROP.SIZE", 384, [384, 384]),
    ("INPUT.CROP.SIZE", "(384.0, 512)", [384, 512]),
    ("INPUT.CROP.SIZE", 0.5, [0.5, 0.5]),
    ("INPUT.CROP.SIZE", [1, 0.9], [1.0, 0.9]),
    ("INPUT.RANDOM_FLIP", None, "none"),
    ("TEST.SLIDING_SIZE", 0, [0, 0]),
    ("TEST.SLIDING_OVERLAP", 0, 0.0),
    ("MODEL.SEM_SEG_HEAD.POOLING_SIZES", 1, [1, 1]),
    ("MODEL.SEM_SEG_HEAD.POOLING_SIZES_TEST", "[1,1]", [1, 1]),
    ("MODEL.SEM_SEG_HEAD.DECODER_DIMS", "64,32", [64, 32]),
    ("MODEL.PIXEL_MEAN", [0, 0, 0], [0.0, 0.0, 0.0]),
    ("MODEL.PIXEL_STD", 255, [255.0, 255.0, 255.0]),
    ("MODEL.RESNETS.DEFORM_ON_PER_STAGE", ["no", True, 0, "true"], [False, True, False, True]),
    ("MODEL.RESNETS.OUT_FEATURES", "res2, res3", ["res2", "res3"]),
    ("MODEL.ANCHOR_GENERATOR.SIZES", "[[32, 45.5], [64]]", [[32, 45.5], [64]]),
    ("MODEL.BACKBONE.SIZE", 13, "13"),
    ("MODEL.WEIGHTS", None, ""),
    ("MODEL.WEIGHTS", "~/model.pth", "HOME/model.pth"),
    ("MODEL.CLIP.NAME", "~/clip.json", "HOME/clip.json"),
    ("MODEL.CLIP.WEIGHTS", "~/clip.pt", "HOME/clip.pt"),
    ("MODEL.CLIP.FINETUNE", "None", "none"),
    ("OUTPUT_DIR", 2024, "2024"),
    ("OUTPUT_DIR", "007", "007"),
    ("OUTPUT_DIR", "1e3", "1e3"),
    ("OUTPUT_DIR", "'quoted'", "quoted"),
    ("OUTPUT_DIR", "~", "HOME"),
    ("DATASETS.TEST", "a_sem_seg", ("a_sem_seg",)),
    ("DATASETS.TEST", "a, b", ("a", "b")),
    ("DATASETS.TEST", "(a_sem_seg,)", ("a_sem_seg",)),  # the shell took the quotes
    ("DATASETS.TEST", "('a', \"b\")", ("a", "b")),
    ("DATASETS.TEST", ["a", 7], ("a", "7")),
    ("DATASETS.TEST", None, ()),
    ("DATASETS.TRAIN", "()", ()),
    ("TEST.EXPECTED_RESULTS", [["sem_seg", "mIoU", 37.9, 0.2]], [["sem_seg", "mIoU", 37.9, 0.2]]),
]


@pytest.mark.parametrize(("key", "written", "meant"), MEANT)
@pytest.mark.parametrize("place", ["file", "options"])
def test_what_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, key: str, written: Any, meant: Any
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "mine.yaml"
    values: dict[str, Any] = {}
    *sections, name = key.split(".")
    for section in reversed(sections):
        values = {section: values}
    node = values
    for section in sections:
        node = node[section]
    if place == "file":
        node[name] = written
    config.write_text(yaml.safe_dump(values))
    value = dict(flat(load_config(config, [key, str(written)] if place == "options" else [])))[key]
    assert value == (meant.replace("HOME", str(tmp_path)) if isinstance(meant, str) else meant)
    assert type(value) is type(meant)
    if isinstance(value, list | tuple):
        assert [type(item) for item in value] == [type(item) for item in meant]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("SOLVER.MAX_ITER", 1.5, "a whole number"),
        ("SOLVER.MAX_ITER", True, "a whole number"),
        ("SOLVER.MAX_ITER", None, "a whole number"),
        ("SOLVER.MAX_ITER", "1,000", "a whole number"),
        ("SOLVER.MAX_ITER", "inf", "a whole number"),
        ("SOLVER.BASE_LR", "fast", "a number"),
        ("SOLVER.BASE_LR", "0,1", "a number"),
        ("SOLVER.BASE_LR", "nan", "a number"),
        ("SOLVER.BASE_LR", False, "a number"),
        ("SOLVER.BASE_LR", date(2024, 1, 2), "a number"),
        ("INPUT.COLOR_AUG_SSD", "maybe", "True or False"),
        ("INPUT.COLOR_AUG_SSD", 2, "True or False"),
        ("INPUT.COLOR_AUG_SSD", 1.0, "True or False"),
        ("INPUT.COLOR_AUG_SSD", None, "True or False"),
        ("INPUT.CROP.SIZE", [384, 384, 3], "2 numbers, such as"),
        ("INPUT.CROP.SIZE", 384.5, "a whole number"),
        ("MODEL.SEM_SEG_HEAD.POOLING_SIZES", [1, 2, 3], r"2 numbers, such as \[2, 2\]"),
        ("MODEL.SEM_SEG_HEAD.POOLING_SIZES", [1.5, 1], r"2 numbers, such as \[2, 2\]"),
        ("MODEL.SEM_SEG_HEAD.DECODER_DIMS", "wide", r"a list, such as \[64, 32\]"),
        ("MODEL.SEM_SEG_HEAD.DECODER_DIMS", None, r"a list, such as \[64, 32\]"),
        ("MODEL.ANCHOR_GENERATOR.SIZES", None, "a list, such as"),
        ("MODEL.BACKBONE.NAME", ["D2SwinTransformer"], "text"),
        ("OUTPUT_DIR", True, "text: write it in quotes"),
        ("DATASETS.TEST", [True], "names, such as"),
        ("DATASETS.TEST", date(2024, 1, 2), "names, such as"),
    ],
)
def test_what_cannot_be_meant_is_one_line(key: str, value: Any, expected: str) -> None:
    with pytest.raises(InputError, match=rf"^{key} is .*, expected {expected}") as raised:
        typed_value(key, value, DEFAULTS[key])
    assert "\n" not in str(raised.value)


def test_programs_may_give_values_that_are_no_text(tmp_path: Path) -> None:
    options = ["SOLVER.MAX_ITER", 7, "MODEL.WEIGHTS", tmp_path / "x.pth", "DATASETS.TEST", ("a",)]
    cfg = load_config("configs/base.yaml", options)
    assert (7, str(tmp_path / "x.pth"), ("a",)) == (cfg.SOLVER.MAX_ITER, cfg.MODEL.WEIGHTS, cfg.DATASETS.TEST)


@pytest.mark.parametrize("key", DEFAULTS)
def test_every_default_is_a_value_of_its_key(key: str) -> None:
    for value in (DEFAULTS[key], str(DEFAULTS[key])):
        assert typed_value(key, value, DEFAULTS[key]) == DEFAULTS[key]


def test_peculiar_keys_exist() -> None:
    assert {*FIXED_LENGTH, *NONE_IS_A_CHOICE} <= {*DEFAULTS, *KEYS}


def test_dates_are_names_of_folders(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("OUTPUT_DIR: 2024-11-25\n")
    assert load_config(tmp_path / "mine.yaml").OUTPUT_DIR == "2024-11-25"


def test_empty_sections_are_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"_BASE_: {Path('configs/base.yaml').resolve()}\nSOLVER:\n")
    with pytest.raises(InputError, match=r"mine.yaml is not a usable config: SOLVER is None, expected keys of its own"):
        load_config(tmp_path / "mine.yaml")


def test_other_versions_of_the_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("VERSION: 1\n")
    with pytest.raises(InputError, match="VERSION is 1, but only configs of version 2 can be read"):
        load_config(tmp_path / "mine.yaml")


def test_the_config_file_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("SEED: 3\n")
    assert load_config("~/mine.yaml").SEED == 3
