"""What a backbone costs: parameters, multiply-adds and time."""

import inspect
import logging
import math
import re
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from catseg.modeling import backbones
from catseg.modeling.backbones.pyramid import PyramidBackbone, SizedBackbone

# MODEL.SWIN of the published sizes, without the stage that gives `res5`.
SWIN_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"embed_dim": 96, "depths": (2, 2, 6), "num_heads": (3, 6, 12), "window_size": 7},
    "small": {"embed_dim": 96, "depths": (2, 2, 18), "num_heads": (3, 6, 12), "window_size": 7},
    "base": {"embed_dim": 128, "depths": (2, 2, 18), "num_heads": (4, 8, 16), "window_size": 12},
    "large": {"embed_dim": 192, "depths": (2, 2, 18), "num_heads": (6, 12, 24), "window_size": 12},
}
# Names of operations that multiply and add; elementwise ones and softmax do not count, by convention.
PRODUCTS = re.compile("conv|mm|mv|dot|einsum|attention")

logger = logging.getLogger(__name__)


def all_sizes() -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """Registered name of each family of this project to its sizes, smallest first, to their constructor arguments."""
    classes = inspect.getmembers(backbones, inspect.isclass)
    sized = {name: family.sizes for name, family in classes if issubclass(family, SizedBackbone) and family.sizes}
    return {"D2SwinTransformer": SWIN_SIZES, **sized}


def build(family: str, size: str, **options: Any) -> PyramidBackbone:
    """Build a backbone with random weights.

    Args:
        family: a key of `all_sizes()`.
        size: a key of `all_sizes()[family]`.
        options: constructor arguments besides those of the size.

    Returns:
        The backbone on the CPU, in evaluation mode.
    """
    return getattr(backbones, family)(**all_sizes()[family][size], **options).eval()


def count_gflops(backbone: nn.Module, image: Tensor) -> float:
    """Billions of multiply-adds of one forward pass, those of fused attention included; warns of what is left out."""
    analysis = FlopCountAnalysis(backbone, image)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _count_attention)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    total = analysis.total() / 1e9
    missed = [name for name in analysis.unsupported_ops() if PRODUCTS.search(name)]
    if missed:
        logger.warning("%s: multiply-adds without those of %s", type(backbone).__name__, ", ".join(sorted(missed)))
    return total


def _count_attention(inputs: list[Any], _outputs: list[Any]) -> int:
    """Multiply-adds of softmax(q k^T) v, `(..., N, C) x (..., M, C) x (..., M, D)`."""
    query, key, value = (node.type().sizes() for node in inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def median_milliseconds(call: Callable[[], object], runs: int) -> float:
    """Median time of a call, after one that is not counted."""
    call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)
