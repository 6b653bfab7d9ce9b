"""CAT-Seg: open-vocabulary semantic segmentation by cost aggregation, as a Detectron2 project.

Importing the package registers the network with Detectron2.
"""

import warnings

# fvcore scripts two functions at import; nothing here uses them, and the notice would head every command's output.
warnings.filterwarnings("ignore", message=r"`torch.jit.script` is deprecated", category=FutureWarning)

from catseg import modeling  # noqa: E402

__version__ = "0.2.0"
__all__ = ["modeling"]
