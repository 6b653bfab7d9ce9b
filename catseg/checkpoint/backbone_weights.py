"""Published weights of backbones, renamed to this project's names: one table per family."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from catseg.checkpoint.rename_table import RenameTable
from catseg.checkpoint.timm_weights import convert_timm

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


# Detectron2's ResNet, from torchvision's: the same arithmetic where RESNETS.STRIDE_IN_1X1 is False.
RESNET = RenameTable(
    source="ResNet, as torchvision publishes it",
    renames=(
        (r"(conv1|bn1)\.", r"stem.\1."),
        *((rf"layer{i}\.", rf"res{i + 1}.") for i in range(1, 5)),
        (r"(.*\.)downsample\.0\.", r"\1shortcut."),
        (r"(.*\.)downsample\.1\.", r"\1shortcut.norm."),
        (r"(.*\.)bn(\d)\.", r"\1conv\2.norm."),
    ),
    dropped=(r"fc\.(weight|bias)", r".*\.num_batches_tracked"),
)


VAN = RenameTable(
    source="VAN, as its authors publish it for classification or segmentation",
    renames=(
        (r"backbone\.", ""),
        *((rf"(patch_embed|block|norm){i + 1}\.", rf"stages.{i}.\1.") for i in range(4)),
        (r"(stages\.\d)\.block\.", r"\1.blocks."),
        (r"(.*\.mlp\.dwconv)\.dwconv", r"\1"),
    ),
    dropped=(r"head\.(weight|bias)", r"(decode|auxiliary)_head\..*"),
)


TWINS = RenameTable(
    source="Twins, as its authors publish it for classification or segmentation",
    renames=(
        (r"backbone\.", ""),
        (r"(patch_embed|block|pos_block|norm)(?:s|_list)?\.(\d)\.", r"stages.\2.\1."),
        (r"(stages\.\d)\.block\.", r"\1.blocks."),
    ),
    dropped=(r"(backbone\.)?(norm|head)\.(weight|bias)", r"(decode|auxiliary)_head\..*"),
    optional=(r"stages\.\d\.norm\.(weight|bias)",),
)


_MPVIT_PATH = r"mhca_stages\.(\d+)\.mhca_blks\.(\d+)\."

# The authors' module registers the position encodings of a path under its own name and again in each of its layers. All
# these names become one here; of several values the last in the file counts, as in the authors' module.
MPVIT = RenameTable(
    source="MPViT, as its authors publish it for classification or segmentation",
    renames=(
        (r"backbone\.", ""),
        (r"patch_embed_stages\.(\d+)\.patch_embeds\.(\d+)\.patch_conv\.", r"stages.\1.paths.\2.embedding."),
        (_MPVIT_PATH + r"(?:MHCA_layers\.\d+\.)?cpe\.proj\.", r"stages.\1.paths.\2.position."),
        (
            _MPVIT_PATH + r"(?:MHCA_layers\.\d+\.(?:factoratt_crpe\.)?)?crpe\.conv_list\.",
            r"stages.\1.paths.\2.relative.",
        ),
        (_MPVIT_PATH + r"MHCA_layers\.", r"stages.\1.paths.\2.layers."),
        (r"(stages\.\d+\.paths\.\d+\.layers\.\d+)\.factoratt_crpe\.", r"\1.attn."),
        (r"mhca_stages\.(\d+)\.InvRes\.", r"stages.\1.local."),
        (r"mhca_stages\.", "stages."),
    ),
    dropped=(r"cls_head\.cls\.(weight|bias)", r"(decode|auxiliary)_head\..*"),
)


CVT = RenameTable(
    source="CvT, as its authors publish it",
    renames=((r"stage(\d)\.", r"stages.\1."),),
    dropped=(r"(norm|head)\.(weight|bias)",),
)


_VIT_RENAMES = (
    (r"backbone\.", ""),
    (r"(blocks\.\d+)\.gamma([12])", r"\1.ls\2.gamma"),
    (r"(.*\.ffn\.dwconv)\.dwconv", r"\1"),
)

VIT_ADAPTER = RenameTable(
    source="ViT-Adapter, as its authors publish it for segmentation",
    renames=_VIT_RENAMES,
    dropped=(r"(decode|auxiliary)_head\..*",),
)

PLAIN_VIT = RenameTable(
    source="the ViT of ViT-Adapter alone, as DeiT and AugReg publish it for classification",
    renames=_VIT_RENAMES,
    dropped=("cls_token", r"(norm|head)\.(weight|bias)"),
    optional=("level_embed", r"(spm|interactions|up|norm\d)\..*", r"blocks\.\d+\.ls[12]\.gamma"),
)


def convert_vit_adapter(state: State, expected: Shapes) -> dict[str, Tensor]:
    """Rename the tensors of a ViT-Adapter file or of a ViT's, leaving out what only maps need that are not wanted.

    What a ViT lacks, all that the adapter adds and the layer scales, keeps its initial values. Arguments, result and
    errors are those of `RenameTable.convert`.
    """
    table = VIT_ADAPTER if any(VIT_ADAPTER.rename(name).startswith("spm.") for name in state) else PLAIN_VIT

    def needed(name: str) -> bool:
        part = re.match(r"(norm\d|up|spm\.fc1)\.", table.rename(name))
        return part is None or any(own.startswith(part[0]) for own in expected)

    return table.convert({name: tensor for name, tensor in state.items() if needed(name)}, expected)


def convert_stages(table: RenameTable, stage: str, state: State, expected: Shapes) -> dict[str, Tensor]:
    """Rename the tensors of a file, leaving out the stages that this backbone was built without.

    Args:
        table: of the family.
        stage: pattern of our names that finds the number of a tensor's stage and, in a second group, whether the tensor
            leads to the next one.
        state: published name to tensor.
        expected: the backbone's name to shape.

    Returns:
        The backbone's name to tensor.

    Raises:
        ValueError: if tensors are unknown, missing or of another shape than expected; it lists them.
    """

    def number(name: str) -> int:
        match = re.match(stage, name)
        return int(match[1]) + bool(match[2]) if match else 0

    last = max(map(number, expected))
    return table.convert({name: state[name] for name in state if number(table.rename(name)) <= last}, expected)


_STAGE = r"stages\.(\d+)\.()"
_RESNET_STAGE = r"res(\d)\.()"
_SWIN_STAGE = r"(?:layers\.|norm)(\d+)\.(downsample\.)?"

# Class of a backbone -> its import of published weights: published tensors and our shapes to our tensors.
# It raises a ValueError that lists what is unknown, missing or of another shape.
Converter: TypeAlias = Callable[[State, Shapes], dict[str, Tensor]]
CONVERTERS: dict[str, Converter] = {
    "CvT": partial(convert_stages, CVT, _STAGE),
    "D2SwinTransformer": partial(convert_stages, SWIN, _SWIN_STAGE),
    "TimmBackbone": convert_timm,
    "TwinsPCPVT": partial(convert_stages, TWINS, _STAGE),
    "TwinsSVT": partial(convert_stages, TWINS, _STAGE),
    "MPViT": partial(convert_stages, MPVIT, _STAGE),
    "ResNet": partial(convert_stages, RESNET, _RESNET_STAGE),
    "VAN": partial(convert_stages, VAN, _STAGE),
    "ViTAdapter": convert_vit_adapter,
}
