"""Weights of timm models, in the files that timm itself can read."""

from collections.abc import Mapping

import timm
import torch
from torch import Tensor

from catseg.errors import InputError


def convert_timm(state: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Pick what a `TimmBackbone` needs out of the weights of its whole model, with or without classifier.

    timm's own import reads them, strictly, so that whatever it knows of other formats of a model's files holds here.

    Args:
        state: published name to tensor.
        expected: the backbone's name to shape; the first part of each name is timm's name of the model.

    Returns:
        The backbone's name to tensor.

    Raises:
        ValueError: if tensors are unknown, missing or of another shape than expected; it lists them.
    """
    name = next(iter(expected)).partition(".")[0]
    failure: Exception | None = None
    for classes in _class_counts(name, state):
        source = {"state_dict": dict(state), "num_classes": classes, "label_offset": 0}
        try:
            whole = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=source, num_classes=classes)
        except (KeyError, RuntimeError) as error:
            failure = failure or error
            continue
        weights = {f"{name}.model.{key}": tensor for key, tensor in whole.state_dict().items()}
        return {key: weights[key] for key in expected}
    raise InputError(f"these are not the weights of timm's {name}: {failure}") from failure


def _class_counts(name: str, state: Mapping[str, Tensor]) -> list[int]:
    """How many classes `state` may be for; where no tensor of it tells, as many as timm's weights have, or none."""
    pretrained = timm.get_pretrained_cfg(name)
    classifiers = [pretrained.classifier] if isinstance(pretrained.classifier, str) else pretrained.classifier or []
    for classifier in classifiers:
        if f"{classifier}.weight" in state:
            return [len(state[f"{classifier}.weight"])]
    known = [weights.num_classes for weights in timm.models.get_arch_pretrained_cfgs(name).values()]
    return list(dict.fromkeys([pretrained.num_classes, *known, 0]))
