"""Computing type, chunk sizes and compilation of the network."""

import logging
import random
from itertools import chain

import torch
from detectron2.config import CfgNode
from open_clip.transformer import ResidualAttentionBlock
from timm.models.eva import EvaBlock
from torch import nn

from catseg.config_checks import pair
from catseg.errors import InputError, RunError
from catseg.modeling.aggregation.spatial_aggregation import GuidedSwinBlock
from catseg.modeling.aggregation.upsampling_decoder import GuidedUpsampling
from catseg.modeling.layers.chunking import ChunkSizes

logger = logging.getLogger(__name__)

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
REFERENCE_CELLS = 24 * 24  # of the published models' cost maps
SHAPES_COMPILED = 64  # of each kind of block; a vocabulary brings up to four
REPEATED = (
    ResidualAttentionBlock,
    EvaBlock,
    GuidedSwinBlock,
    GuidedUpsampling,
)  # few shapes, many calls: compiling pays


def dtype_name(dtype: str | torch.dtype) -> str:
    """Return what TEST.DTYPE calls a computing type.

    Raises:
        ValueError: if it is none.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in TYPES:
        raise InputError(f"dtype must be one of {', '.join(TYPES)}, got {name}")
    return name


def dtype_from_config(cfg: CfgNode) -> torch.dtype:
    """Read `TEST.DTYPE`, and warn if the processor would compute it in software, hundreds of times slower.

    Raises:
        ValueError: for an unknown name.
    """
    name = cfg.TEST.DTYPE
    if name not in TYPES:
        raise InputError(f"TEST.DTYPE must be one of {', '.join(TYPES)}, got {name!r}")
    if cfg.MODEL.DEVICE == "cpu" and not _has_instructions(TYPES[name]):
        logger.warning("this processor has no instructions for %s: TEST.DTYPE float32 is far quicker here", name)
    return TYPES[name]


def chunk_sizes_from_config(cfg: CfgNode) -> ChunkSizes:
    """Read `TEST.CROPS_PER_CHUNK` and `TEST.CLASS_MAPS_PER_CHUNK`; 0 chooses from the device and the shapes.

    A CPU is quickest with what stays in its cache, 4 class maps of 24 x 24 cells, and a GPU with what keeps it busy.

    Raises:
        ValueError: for a negative number.
    """
    crops, class_maps = (4, 4) if torch.device(cfg.MODEL.DEVICE).type == "cpu" else (16, 64)
    rows, columns = pair("MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION", cfg.MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION)
    of_this_size = max(1, class_maps * REFERENCE_CELLS // (rows * columns))
    return ChunkSizes(cfg.TEST.CROPS_PER_CHUNK or crops, cfg.TEST.CLASS_MAPS_PER_CHUNK or of_this_size)


def _has_instructions(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():  # as on Apple's processors
        return dtype == torch.float32
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


def check_compiler(device: str) -> None:
    """Compile something small for a device, which takes seconds, so that a missing compiler is found at the start.

    Raises:
        RuntimeError: if it cannot be compiled.
    """
    number = random.random()  # part of the code, so that it is in no cache of what was compiled before
    try:
        torch.compile(lambda x: x * number)(torch.zeros(2, device=device))
    except Exception as error:  # torch has many kinds for it
        raise RunError(
            f"MODEL.COMPILE is True, but torch.compile does not work here ({str(error).splitlines()[0]}): "
            "install a C++ compiler, such as g++, or name one in the environment variable CXX, or set it False"
        ) from error


def compile_blocks(*parts: nn.Module) -> None:
    """Compile the repeated blocks inside `parts`, each when it is first called and for each shape that it meets.

    Names in the state dict stay as they are.
    """
    dynamo = torch._dynamo.config  # blocks of one kind count together, and what comes beyond the limit is not compiled
    dynamo.recompile_limit = max(dynamo.recompile_limit, SHAPES_COMPILED)
    for module in chain.from_iterable(part.modules() for part in parts):
        if isinstance(module, REPEATED):
            module.compile(dynamic=False)
