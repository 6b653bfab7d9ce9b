"""CAT-Seg: open-vocabulary semantic segmentation by cost aggregation, as a Detectron2 project.

    import catseg

    model = catseg.load("v2-large")
    result = model.segment("photo.jpg", ["sofa", ("cat", "kitten"), "night sky"])

What is below is imported when it is first used. The network is registered with Detectron2 by importing
`catseg.modeling`, which `catseg.config.add_catseg_config` does too.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catseg.api.loading import load
    from catseg.api.model import CATSegModel
    from catseg.api.registry import ModelInfo, models
    from catseg.api.result import Result
    from catseg.config import add_catseg_config
    from catseg.vocabulary import Vocabulary, load_vocabulary

# fvcore scripts two functions at import; nothing here uses them, and the notice would head every command's output.
warnings.filterwarnings("ignore", message=r"`torch.jit.script` is deprecated", category=FutureWarning)

__version__ = "0.4.0"
__all__ = [
    "CATSegModel",
    "ModelInfo",
    "Result",
    "Vocabulary",
    "add_catseg_config",
    "load",
    "load_vocabulary",
    "models",
]

_MODULES = {
    "CATSegModel": "catseg.api.model",
    "ModelInfo": "catseg.api.registry",
    "Result": "catseg.api.result",
    "Vocabulary": "catseg.vocabulary",
    "add_catseg_config": "catseg.config",
    "load": "catseg.api.loading",
    "load_vocabulary": "catseg.vocabulary",
    "models": "catseg.api.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
