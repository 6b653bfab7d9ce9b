"""Rebuild the network of a backbone reference case with this project's own building and weight import."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from catseg.checkpoint.backbones import CONVERTERS
from catseg.modeling.backbones import D2SwinTransformer
from catseg.tools.reference_case import ReferenceCase, UnsupportedCaseError


def build_backbone(case: ReferenceCase) -> nn.Module:
    """Build the network of a backbone case and load its weights.

    Returns:
        The backbone on the CPU, in evaluation mode.

    Raises:
        UnsupportedCaseError: if its family is unknown.
        ValueError: if its weights do not fit.
    """
    family = case.config["family"]
    if family not in BACKBONE_FAMILIES:
        raise UnsupportedCaseError(f"backbone family {family!r}; known are {', '.join(BACKBONE_FAMILIES)}")
    backbone = BACKBONE_FAMILIES[family](case.config["args"], tuple(case.config["output_shapes"]))
    convert = CONVERTERS[type(backbone).__name__]
    expected = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    backbone.load_state_dict(convert(case.state_dict(), expected))
    return backbone.eval()


def _build_swin(args: Mapping[str, Any], out_features: tuple[str, ...]) -> nn.Module:
    for name, only in (("patch_size", 4), ("in_chans", 3), ("qkv_bias", True), ("qk_scale", None), ("ape", False)):
        if args.get(name, only) != only:
            raise UnsupportedCaseError(f"Swin with {name} {args[name]!r}")
    return D2SwinTransformer(
        embed_dim=args["embed_dim"],
        depths=args["depths"],
        num_heads=args["num_heads"],
        window_size=args["window_size"],
        mlp_ratio=args["mlp_ratio"],
        out_features=out_features,
    )


# Family -> how to build it from the official constructor's arguments and the names of the wanted maps.
BACKBONE_FAMILIES: dict[str, Callable[[Mapping[str, Any], tuple[str, ...]], nn.Module]] = {
    "swin": _build_swin,
}
