"""Stored results of each evaluated pair of model and data set, and whether they are still valid.

A pair has a folder of its own, `pairs/<model>/<dataset>`. Its file `pair.json` is written last: a pair without it, or
with other settings in it, is evaluated again.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from catseg.atomic import json_text, write_json
from catseg.benchmark.plan import Pair
from catseg.checkpoint.hub import kept_commit
from catseg.checkpoint.sources import fetch, hub_file

RECORD = "pair.json"

logger = logging.getLogger(__name__)
_VERSION = 2  # of what is evaluated and kept: records of another one are made anew
# What changes neither the network nor how images go through it. The checkpoint replaces CLIP's first weights.
_NO_MATTER = ("WEIGHTS", "DEVICE", "COMPILE", "ACTIVATION_CHECKPOINTING", "CLIP.WEIGHTS", "CLIP.TEXT_CACHE")
_INPUT_KEYS = ("MIN_SIZE_TEST", "MAX_SIZE_TEST")
_TEST_KEYS = (
    *(f"SLIDING_{name}" for name in ("WINDOW", "SIZE", "KERNEL", "OVERLAP", "WHOLE_IMAGE")),
    *("AUG", "MAX_CLASSES", "DTYPE"),
)


def pair_folder(output: Path, pair: Pair) -> Path:
    """Return the folder of a pair."""
    return output / "pairs" / pair.model.folder / pair.dataset


def describe_settings(cfg: CfgNode, records: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Describe all that a pair's numbers depend on.

    Args:
        cfg: of the model, with its weights.
        records: of the data set, as `catseg.data.records` has them.
        classes: that are looked for and scored.

    Returns:
        Plain values, as JSON has them. Of weights on the hub, the commit stands for what they hold (None before they
        are here); of others, size and time of the file do. Of images and label maps their names do.

    Raises:
        FileNotFoundError: if weights that are not on the hub are not there.
    """
    model = json.loads(json.dumps(cfg.MODEL))
    for key in _NO_MATTER:
        *parents, last = key.split(".")
        place = model
        for parent in parents:
            place = place[parent]
        place.pop(last)
    files = [
        (Path(record["file_name"]).name, Path(record["sem_seg_file_name"]).name, record.get("upright", True))
        for record in records
    ]
    settings = {
        "version": _VERSION,
        "model": model,
        "input": {key: cfg.INPUT[key] for key in _INPUT_KEYS},
        "test": {key: cfg.TEST[key] for key in _TEST_KEYS},
        "weights": _describe_weights(cfg.MODEL.WEIGHTS or cfg.MODEL.CLIP.WEIGHTS),
        "images": len(records),
        "files": _digest(files),
        "classes": _digest(list(classes)),
    }
    return json.loads(json_text(settings))


def read_pair(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read what is kept of a pair.

    Args:
        folder: of the pair.
        settings: of `describe_settings`.

    Returns:
        What `write_pair` wrote; None if there is nothing, or it was made with other settings.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        logger.warning("%s is damaged, so that the pair is evaluated again: %s", folder / RECORD, error)
        return None
    return record if isinstance(record, dict) and record.get("settings") == settings else None


def write_pair(folder: Path, record: Mapping[str, Any]) -> None:
    """Write what is kept of a pair: plain values, among them `settings`."""
    write_json(folder / RECORD, record)


def _describe_weights(weights: str) -> dict[str, Any]:
    source = hub_file(weights)
    if source is not None:
        return {"name": weights, "commit": kept_commit(source)}
    path = fetch(weights) if "://" in weights else Path(weights)
    if path.name == weights and not path.suffix and not path.is_file():
        return {"name": weights}  # a tag of open_clip, which stands for one file, or nothing
    try:
        state = path.stat()
    except OSError:
        raise FileNotFoundError(f"there are no weights {weights}: check the path, or download them first") from None
    return {"name": weights, "bytes": state.st_size, "modified": state.st_mtime_ns}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
