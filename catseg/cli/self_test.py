"""A network with fixed weights on one image, whose output is stored: does it come out the same on this machine?"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from catseg.api.model import CATSegModel
from catseg.build import build_model
from catseg.config import load_config, shipped_config

TOLERANCE = 2e-3  # of probabilities, which differ by up to 0.07 from place to place; GPUs round otherwise
CLASSES = ("red patch", "sand", "night sky")
_SIDE, _GRID, _GAIN = 64, 3, 4.5  # the last one large enough that the output varies with what is in the image
# Probabilities (T, 3, 3) at the centres of nine fields of the image, as a CPU computes them in float32.
EXPECTED: NDArray[np.float32] = np.array(
    [
        [[0.03918, 0.05636, 0.05496], [0.0383, 0.08015, 0.07663], [0.05185, 0.08704, 0.11296]],
        [[0.03886, 0.05604, 0.05371], [0.03859, 0.07759, 0.07623], [0.05177, 0.08587, 0.11333]],
        [[0.03915, 0.05671, 0.05442], [0.03874, 0.08067, 0.07686], [0.05212, 0.08743, 0.11282]],
    ],
    dtype=np.float32,
)


def largest_error(device: str) -> float:
    """Return the largest difference of probabilities on a device from the stored ones.

    Args:
        device: as torch names it.

    Raises:
        RuntimeError: whatever the device or torch raise.
    """
    return float(np.abs(probabilities(device) - EXPECTED).max())


def probabilities(device: str) -> NDArray[np.float32]:
    """Return the probabilities that are compared, (T, 3, 3)."""
    options = ["MODEL.DEVICE", device, "MODEL.WEIGHTS", "", "MODEL.CLIP.WEIGHTS", "", "INPUT.MIN_SIZE_TEST", "0"]
    config = load_config(shipped_config("catseg_shapes"), options)
    module, _ = build_model(config, "")
    _set_weights(module)
    result = CATSegModel(module, config).segment(_image(), CLASSES, threshold=0.0, context=None, on_error="raise")
    centres = (np.arange(_GRID) * 2 + 1) * _SIDE // (2 * _GRID)
    return result.class_scores[:, centres][:, :, centres]


def _set_weights(module: nn.Module) -> None:
    """Give every weight a value that no random generator decides; those that start equal, as in norms, stay."""
    with torch.no_grad():
        for place, (_, weight) in enumerate(sorted(module.named_parameters())):
            if weight.ndim < 2 and bool((weight == weight.flatten()[0]).all()):
                continue
            steps = np.arange(weight.numel(), dtype=np.float64)
            values = np.sin(steps * (1.7 + 0.01 * place) + steps**2 * 1e-3) * _GAIN / math.sqrt(weight[0].numel())
            weight.copy_(torch.from_numpy(values).reshape(weight.shape))


def _image() -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    channels = [127 + 120 * np.sin(rows / 9 + 2 * shift) * np.cos(columns / (7 + shift)) for shift in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)
