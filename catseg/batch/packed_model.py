"""A model as bytes that other processes make it of, with its weights, so that none of them has to find its files."""

import pickle

import cloudpickle

from catseg.api.model import CATSegModel
from catseg.build import usable_device


def pack_model(model: CATSegModel) -> bytes:
    """Return a model as bytes, for processes that run the same code.

    Args:
        model: is on the CPU meanwhile, and then where it was.
    """
    device = model.device
    model.to("cpu")
    try:
        parts = {"config": model.config, "name": model.name, "classes": model.classes, "context": model.context}
        return cloudpickle.dumps((model.module, {**parts, "trained": model.trained}))
    finally:
        model.to(device)


def unpack_model(packed: bytes, device: str) -> CATSegModel:
    """Make a model of what `pack_model` returned.

    Args:
        packed: from a process of this run; loading it runs code, as any pickle does.
        device: as torch names it.
    """
    module, options = pickle.loads(packed)
    return CATSegModel(module, options.pop("config"), **options).to(usable_device(device))
