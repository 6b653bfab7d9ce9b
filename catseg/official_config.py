"""Config files and command lines written for the authors' code, translated to this project's keys.

The authors' repository (cvlab-kaist/CAT-Seg, versions 1 and 2) and its forks share their keys with this project where
both mean the same. `catseg.official_keys.KEYS` are those that only their code has: a file that names one of them is
taken to be written for it, and is read over that code's defaults, not over ours. A config that names a backbone is of
version 1, any other of version 2, which has none.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.config import get_cfg

from catseg.config_values import flat, typed_value
from catseg.errors import InputError
from catseg.official_keys import (
    BACKBONE_WEIGHTS,
    CHOICES,
    CHOICES_OF_BACKBONE,
    CHOICES_OF_VERSION,
    KEYS,
    NOT_READ,
    OPENCLIP,
    SHARED_KEYS,
    VOCABULARIES,
)

HEAD = "MODEL.SEM_SEG_HEAD."
# Keys whose values the authors' code never reads, of what it always does in one way.
FIXED = (
    f"{HEAD}LOSS_WEIGHT",
    "INPUT.RANDOM_FLIP",
    "SOLVER.BIAS_LR_FACTOR",
    "SOLVER.NESTEROV",
    "SOLVER.WEIGHT_DECAY_BIAS",
    "SOLVER.WEIGHT_DECAY_EMBED",
)
# What to write here in place of a key that only the authors' code has.
COUNTERPARTS = {
    f"{HEAD}CLIP_FINETUNE": "MODEL.CLIP.FINETUNE",
    f"{HEAD}CLIP_PRETRAINED": "MODEL.CLIP.NAME",
    f"{HEAD}PROMPT_DEPTH": "MODEL.CLIP.PROMPT_DEPTH",
    f"{HEAD}PROMPT_LENGTH": "MODEL.CLIP.PROMPT_LENGTH",
    f"{HEAD}TEST_CLASS_JSON": "DATASETS.TEST_CLASSES",
    f"{HEAD}TRAIN_CLASS_JSON": "DATASETS.TRAIN_CLASSES",
    "MODEL.CLIP_PIXEL_MEAN": "MODEL.CLIP.PIXEL_MEAN",
    "MODEL.CLIP_PIXEL_STD": "MODEL.CLIP.PIXEL_STD",
    "MODEL.PROMPT_ENSEMBLE_TYPE": "MODEL.CLIP.TEMPLATES",
}


@dataclass(frozen=True)
class Translation:
    """A config in this project's keys.

    Attributes:
        values: by the full names of our keys: all on which the authors' defaults have a say, and what was given in keys
            that only this project has.
        notes: what became of the keys that were given, a line each.
    """

    values: Mapping[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Official:
    """A config of the authors' code, over its defaults."""

    values: Mapping[str, Any]
    version: int
    is_file: Callable[[str], bool]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]


class _UntranslatableError(Exception):
    """A value that has no counterpart."""

    def __init__(self, key: str, value: Any, reason: str) -> None:
        super().__init__(f"{key} {value!r} of the authors' code cannot be honoured here: {reason}")


def is_official(keys: Collection[str]) -> bool:
    """Tell whether a config, given as the full names of its keys, is written for the authors' code."""
    return any(key in KEYS for key in keys)


def counterpart(key: str) -> str:
    """Say what to write here for a key that only the authors' code has; "" for other keys."""
    if key not in KEYS:
        return ""
    return f"write {COUNTERPARTS[key]}" if key in COUNTERPARTS else "leave it out, nothing here corresponds to it"


def translate(
    given: Mapping[str, Any], *, known: Collection[str], is_file: Callable[[str], bool] = os.path.isfile
) -> Translation:
    """Translate a config of the authors' code.

    Args:
        given: values by the full names of keys, as people write them: of the file, with the overrides in their places.
            Keys that only this project has may be among them and have the last word.
        known: this project's keys.
        is_file: tells whether a path that the config names is a file.

    Raises:
        ValueError: if a value does not fit its key, or keys or values have no counterpart here: all are named.
    """
    config = _read(given, is_file)
    values = {key: value for key, value in config.values.items() if key in known and not key.startswith("TEST.AUG.")}
    own = {key: value for key, value in given.items() if key not in config.values}
    notes = [f"The config is of version {config.version} of the authors' code and read over that code's defaults."]
    problems = [
        f"{key} {value!r} cannot be honoured: neither the authors' code nor this project has such a key"
        for key, value in own.items()
        if key not in known
    ]
    for keys, rule in _rules(config):
        try:
            result = rule(config)
        except _UntranslatableError as error:
            problems.append(str(error))
            continue
        written = [f"{key} {config[key]!r}" for key in keys if key in given]
        changed = {key: value for key, value in result.items() if key not in values or values[key] != value}
        if written and changed:
            notes.append(f"{', '.join(written)} -> {', '.join(f'{key} {value!r}' for key, value in changed.items())}")
        values |= result
    if problems:
        raise InputError("; ".join(problems))
    notes += [f"{key} {config[key]!r} is ignored: {reason}" for key, reason in _ignored(config) if key in given]
    return Translation(values | own, tuple(notes))


def _read(given: Mapping[str, Any], is_file: Callable[[str], bool]) -> _Official:
    defaults = {**dict(flat(get_cfg())), **SHARED_KEYS, **KEYS}
    typed = {key: typed_value(key, value, defaults[key]) for key, value in given.items() if key in defaults}
    return _Official({**defaults, **typed}, version=1 if typed.get("MODEL.BACKBONE.NAME") else 2, is_file=is_file)


Rule = Callable[[_Official], dict[str, Any]]  # returns values of our keys


def _rules(config: _Official) -> Iterator[tuple[tuple[str, ...], Rule]]:
    """List the rules, each with the authors' keys that it is about.

    Keys of Detectron2, and those of both projects, that no rule changes are taken over as they are.
    """
    choices = {**CHOICES, **CHOICES_OF_VERSION[config.version]}
    if config.version == 1:
        choices |= CHOICES_OF_BACKBONE.get(config["MODEL.BACKBONE.NAME"], {})
    for key, possible in choices.items():
        yield (key,), partial(_chosen, key=key, possible=possible)
    yield (f"{HEAD}PROMPT_DEPTH", f"{HEAD}PROMPT_LENGTH"), _prompt_tokens
    for key in ("MODEL.CLIP_PIXEL_MEAN", "MODEL.CLIP_PIXEL_STD"):
        yield (key,), partial(_renamed, key=key)
    for key in (f"{HEAD}TRAIN_CLASS_JSON", f"{HEAD}TEST_CLASS_JSON"):
        yield (key,), partial(_class_list, key=key)
    yield ("MODEL.WEIGHTS",), _weights
    yield (f"{HEAD}POOLING_SIZES",), _pooling
    yield (), _guidance
    yield (), _padding
    yield ("SOLVER.CLIP_GRADIENTS.ENABLED", "SOLVER.CLIP_GRADIENTS.NORM_TYPE"), _clipping
    yield ("SOLVER.AMP.ENABLED",), _precision
    yield FIXED, _not_configurable


def _chosen(config: _Official, *, key: str, possible: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    if config[key] not in possible:
        there_are = ", ".join(repr(value) for value in possible)
        raise _UntranslatableError(key, config[key], f"possible with version {config.version}: {there_are}")
    return possible[config[key]]


def _prompt_tokens(config: _Official) -> dict[str, Any]:
    """The authors' code gives prompt tokens to OpenAI's models alone."""
    has_tokens = config[f"{HEAD}CLIP_PRETRAINED"] not in OPENCLIP
    keys = (f"{HEAD}PROMPT_DEPTH", f"{HEAD}PROMPT_LENGTH")
    return {COUNTERPARTS[key]: config[key] if has_tokens else 0 for key in keys}


def _renamed(config: _Official, *, key: str) -> dict[str, Any]:
    return {COUNTERPARTS[key]: config[key]}


def _class_list(config: _Official, *, key: str) -> dict[str, Any]:
    """Take the file if it is there, or else the vocabulary that stands for it; by default the data set's own names."""
    path = config[key]
    if not config.is_file(path):
        path = "" if path == KEYS[key] else VOCABULARIES.get(Path(path).name, path)
    return {COUNTERPARTS[key]: path}


def _weights(config: _Official) -> dict[str, Any]:
    path = config["MODEL.WEIGHTS"]
    return {"MODEL.WEIGHTS": path if config.is_file(path) else BACKBONE_WEIGHTS.get(Path(path).name, path)}


def _pooling(config: _Official) -> dict[str, Any]:
    return {f"{HEAD}POOLING_SIZES_TEST": config[f"{HEAD}POOLING_SIZES"]}


def _guidance(config: _Official) -> dict[str, Any]:
    """Refuse networks without guidance, which the authors' code writes as a width of 0."""
    for key in [key for key in config.values if key.startswith(HEAD) and "GUIDANCE" in key]:
        widths = config[key] if isinstance(config[key], list) else [config[key]]
        if min(widths, default=0) < 1:
            raise _UntranslatableError(key, config[key], "a network without this guidance is not possible")
    return {}


def _padding(config: _Official) -> dict[str, Any]:
    """Refuse to pad training samples beyond the crop, which is the size that all have here."""
    crop = config["INPUT.CROP.SIZE"] if config["INPUT.CROP.ENABLED"] else None
    key = "INPUT.SIZE_DIVISIBILITY"
    if config[key] > 0 and crop != [config[key]] * 2:
        raise _UntranslatableError(key, config[key], f"training samples have the size of INPUT.CROP, which is {crop}")
    key = "MODEL.MASK_FORMER.SIZE_DIVISIBILITY"
    if crop and config[key] > 0 and any(side % config[key] for side in crop):
        raise _UntranslatableError(key, config[key], f"training samples of {crop} pixels would be padded")
    return {}


def _clipping(config: _Official) -> dict[str, Any]:
    """For the norm of the full model, the authors' code takes a limit of 0 for none, and always the Euclidean norm."""
    node = "SOLVER.CLIP_GRADIENTS."
    if config[f"{node}CLIP_TYPE"] != "full_model":
        return {}
    enabled = config[f"{node}ENABLED"] and config[f"{node}CLIP_VALUE"] > 0
    return {f"{node}ENABLED": enabled, f"{node}NORM_TYPE": 2.0}


def _precision(config: _Official) -> dict[str, Any]:
    return {"SOLVER.AMP.DTYPE": "float16"} if config["SOLVER.AMP.ENABLED"] else {}


def _not_configurable(_: _Official) -> dict[str, Any]:
    """Set what the authors' code does whatever the config says, as in training biases like weights."""
    return {
        f"{HEAD}LOSS_WEIGHT": 1.0,
        "INPUT.RANDOM_FLIP": "horizontal",
        "SOLVER.WEIGHT_DECAY_EMBED": 0.0,
        "SOLVER.CHECKPOINTS_KEPT": 0,
        "SOLVER.BIAS_LR_FACTOR": 1.0,
        "SOLVER.NESTEROV": False,
        "SOLVER.WEIGHT_DECAY_BIAS": None,
    }


def _ignored(config: _Official) -> Iterator[tuple[str, str]]:
    """List keys that have no effect here, each with the reason."""
    for key in NOT_READ:
        yield key, "the authors' code never reads it"
    for name in ("TEXT_GUIDANCE_DIM", "APPEARANCE_GUIDANCE_DIM", "DECODER_GUIDANCE_DIMS"):
        yield f"{HEAD}{name}", "such widths follow from CLIP and the backbone"
    yield "INPUT.SIZE_DIVISIBILITY", "training samples that are smaller than INPUT.CROP.SIZE are padded to it"
    yield (
        "MODEL.MASK_FORMER.SIZE_DIVISIBILITY",
        "images are not padded (in the authors' code, those that are evaluated without TEST.SLIDING_WINDOW are)",
    )
    yield "MODEL.SWIN.PRETRAIN_IMG_SIZE", "it only matters with MODEL.SWIN.APE"
    if config.version == 2:
        yield "SOLVER.BACKBONE_MULTIPLIER", "version 2 has no backbone"
