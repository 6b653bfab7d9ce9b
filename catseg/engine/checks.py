"""What the checks of config values in this folder have in common."""

import math

from detectron2.config import CfgNode

from catseg.errors import InputError


def check_at_least(lowest: float, cfg: CfgNode, *keys: str, note: str = "") -> None:
    """Check that numbers of a config are finite and not too low.

    Args:
        lowest: what they must be at least.
        cfg: the config.
        keys: full names of the keys.
        note: what to say of `lowest`, if anything.

    Raises:
        ValueError: for the first key whose value is lower or not finite.
    """
    for key in keys:
        value = cfg
        for name in key.split("."):
            value = value[name]
        if not (math.isfinite(value) and value >= lowest):
            raise InputError(f"{key} must be at least {lowest}{note and f' ({note})'}, got {value}")
