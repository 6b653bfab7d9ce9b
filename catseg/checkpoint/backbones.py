"""Published weights of backbones, renamed to this project's names: one table per family."""

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from catseg.checkpoint.rename_table import RenameTable

State: TypeAlias = Mapping[str, Tensor]  # published name to tensor
Shapes: TypeAlias = Mapping[str, torch.Size]  # our name to shape, for every tensor of the backbone

SWIN = RenameTable(
    source="Swin, as its authors publish it, or as a backbone of CAT-Seg",
    dropped=(
        r".*\.relative_position_index",
        r".*\.attn_mask",
        r"(norm|head)\.(weight|bias)",
    ),
    optional=(r"norm\d+\.(weight|bias)",),
)


def convert_swin(state: State, expected: Shapes) -> dict[str, Tensor]:
    """Rename the tensors of a Swin file, leaving out the stages that this backbone does not have.

    A classification file has four stages and no output norms; those keep their initial values.

    Args:
        state: published name to tensor.
        expected: the backbone's name to shape.

    Returns:
        The backbone's name to tensor.

    Raises:
        ValueError: if tensors are unknown, missing or of another shape than expected; it lists them.
    """
    last = max(int(name.split(".")[1]) for name in expected if name.startswith("layers."))
    beyond = re.compile(r"layers\.(\d+)\.(downsample\.)?")

    def needed(name: str) -> bool:
        match = beyond.match(name)
        if match is None:
            return True
        stage, is_downsample = int(match[1]), match[2] is not None
        return stage < last or (stage == last and not is_downsample)

    return SWIN.convert({name: tensor for name, tensor in state.items() if needed(name)}, expected)


# Registered name of a backbone -> its import of published weights: published tensors and our shapes to our tensors.
# It raises a ValueError that lists what is unknown, missing or of another shape.
CONVERTERS: dict[str, Callable[[State, Shapes], dict[str, Tensor]]] = {
    "D2SwinTransformer": convert_swin,
}
