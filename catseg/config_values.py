"""Values of config keys as people write them, in files and on command lines, made what their keys expect."""

import ast
import difflib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from detectron2.config import CfgNode

from catseg.errors import InputError

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
NULL = ("None", "null", "Null", "NULL")
# Keys with as many numbers as their default has: rows and columns, or red, green and blue. One number stands for all.
FIXED_LENGTH = frozenset(
    (
        "INPUT.CROP.SIZE",
        "MODEL.CLIP.PIXEL_MEAN",
        "MODEL.CLIP.PIXEL_STD",
        "MODEL.CLIP_PIXEL_MEAN",
        "MODEL.CLIP_PIXEL_STD",
        "MODEL.PIXEL_MEAN",
        "MODEL.PIXEL_STD",
        "MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION",
        "MODEL.SEM_SEG_HEAD.POOLING_SIZES",
        "MODEL.SEM_SEG_HEAD.POOLING_SIZES_TEST",
        "MODEL.TRAINING_FREE.PROXY_SIZE",
        "TEST.SLIDING_SIZE",
    )
)
# Keys of which "none" is one of the choices, so that None means that and not the empty text.
NONE_IS_A_CHOICE = frozenset(("INPUT.RANDOM_FLIP", "MODEL.CLIP.FINETUNE", "MODEL.SEM_SEG_HEAD.CLIP_FINETUNE"))


class _UnfitError(Exception):
    """A value that a key cannot take; the message says what the key expects."""


def typed_value(key: str, value: Any, default: Any) -> Any:
    """Convert a value to the type of a key's default.

    A number may be text, and a whole one may have a fraction of 0 (1e3); True and False may be yes, no, on, off, 1 and
    0, in any case; a number or a date may stand for text; one item stands for a list, whose items may also be written
    with commas between them. None is the empty text and the empty list of names. In text, a leading ~ is the home
    folder.

    Args:
        key: full name of the key, for its peculiarities and for messages.
        value: what a YAML file or a program gives, or a word of a command line.
        default: of the key; one that is None takes any value.

    Returns:
        The value. A list is a tuple where the default is one.

    Raises:
        ValueError: if the value cannot be meant for the key. The message names both, and what was expected.
    """
    try:
        return _crop_size(value) if key == "INPUT.CROP.SIZE" else _converted(key, value, default)
    except _UnfitError as error:
        raise InputError(f"{key} is {value!r}, expected {error}") from None


def flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List the keys below a config node or a mapping like it, with their full names and values."""
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def assign(cfg: CfgNode, values: Mapping[str, Any]) -> None:
    """Set keys of a config, each value through `typed_value`.

    Args:
        cfg: changed in place.
        values: by the full names of keys.

    Raises:
        ValueError: if there is no such key, or the value does not fit.
    """
    for key, value in values.items():
        *sections, name = key.split(".")
        node: Any = cfg
        for section in sections:
            node = node.get(section) if isinstance(node, CfgNode) else None
        if not isinstance(node, CfgNode) or name not in node:
            raise InputError(f"no config key {key}; {_hint(cfg, key)}")
        node[name] = typed_value(key, value, node[name])


def _hint(cfg: CfgNode, key: str) -> str:
    close = difflib.get_close_matches(key.upper(), [known for known, _ in flat(cfg)], n=3)
    return f"did you mean {' or '.join(close)}?" if close else "catseg/config.py lists this project's keys"


def _converted(key: str, value: Any, default: Any) -> Any:
    if isinstance(default, Mapping):
        raise _UnfitError("keys of its own below it: it is a section")
    if isinstance(default, str):
        return _text(key, value)
    if isinstance(default, list | tuple):
        return type(default)(_items(key, value, default))
    if isinstance(default, bool):
        return _truth(value)
    if isinstance(default, int):
        return _whole_number(value)
    if isinstance(default, float):
        return float(_number(value))
    return _literal(value)


def _literal(value: Any) -> Any:
    """Evaluate text that is a Python literal; other values are returned as they are."""
    if not isinstance(value, str):
        return value
    if value in NULL:
        return None
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _text(key: str, value: Any) -> str:
    literal = _literal(value)
    if literal is None:
        return "none" if key in NONE_IS_A_CHOICE else ""
    if isinstance(literal, str):
        return os.path.expanduser(literal)  # noqa: PTH111 (a Path would change what is no path)
    if isinstance(value, str) and isinstance(literal, int | float):
        return value  # as it was typed: 007 is not 7
    if isinstance(value, int | float | date | os.PathLike) and not isinstance(value, bool):
        return os.path.expanduser(str(value))  # noqa: PTH111
    raise _UnfitError("text: write it in quotes" if isinstance(value, bool) else "text")


def _truth(value: Any) -> bool:
    word = str(value).strip().lower() if isinstance(value, bool | int | str) else ""
    if word not in TRUE + FALSE:
        raise _UnfitError("True or False")
    return word in TRUE


def _number(value: Any) -> float:
    literal = _literal(value)
    if isinstance(literal, str):  # such as 007, which is no literal
        try:
            literal = float(literal)
        except ValueError:
            raise _UnfitError("a number") from None
    if isinstance(literal, bool) or not isinstance(literal, int | float) or math.isnan(literal):
        raise _UnfitError("a number")
    return literal


def _whole_number(value: Any) -> int:
    try:
        number = _number(value)
    except _UnfitError:
        raise _UnfitError("a whole number") from None
    if not float(number).is_integer():
        raise _UnfitError("a whole number")
    return int(number)


def _crop_size(value: Any) -> list[float]:
    """Read INPUT.CROP.SIZE, height and width: shares of an image up to 1, and pixels above."""
    sizes = _items("INPUT.CROP.SIZE", value, [1.0, 1.0])
    return [_whole_number(size) if size > 1 else size for size in sizes]


def _items(key: str, value: Any, default: Sequence[Any]) -> list[Any]:
    """Convert the items of a list to the type of the first of `default`; items of lists in lists stay as they are."""
    names = isinstance(default[0], str) if default else key.startswith("DATASETS.")
    if names and _literal(value) is None:
        return []
    try:
        items = _split(value)
        if key in FIXED_LENGTH and len(items) == 1:
            items = items * len(default)
        if key in FIXED_LENGTH and len(items) != len(default):
            raise _UnfitError
        return [_item(key, item, "" if names else default[0] if default else None) for item in items]
    except _UnfitError:
        number = f"{len(default)} numbers" if key in FIXED_LENGTH else "names" if names else "a list"
        raise _UnfitError(f"{number}, such as {default or ('name',)}") from None


def _item(key: str, item: Any, default: Any) -> Any:
    if not isinstance(default, list | tuple):
        return _converted(key, item, default)
    return type(default)(_literal(inner) for inner in _split(item))


def _split(value: Any) -> list[Any]:
    """Split what stands for a list into its items."""
    literal = _literal(value)
    if isinstance(literal, list | tuple):
        return list(literal)
    if isinstance(literal, str):  # names without quotes of their own: the shell has removed them
        bare = literal.strip()
        parts = (bare.strip("()[]") if bare.startswith(("(", "[")) else bare).split(",")
        return [part.strip(" \t'\"") for part in parts if part.strip()]
    if isinstance(literal, int | float):
        return [value]
    raise _UnfitError
