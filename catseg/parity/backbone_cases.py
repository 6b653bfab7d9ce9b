"""Rebuild the network of a backbone reference case with this project's own building and weight import."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from catseg.checkpoint.backbone_weights import CONVERTERS
from catseg.modeling.backbones import VAN, CvT, D2SwinTransformer, MPViT, TwinsPCPVT, TwinsSVT, ViTAdapter
from catseg.modeling.backbones.mpvit import NUM_HEADS
from catseg.parity.case import ReferenceCase, UnsupportedCaseError


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


def _require(family: str, args: Mapping[str, Any], supported: Mapping[str, Any]) -> None:
    """Refuse a case whose constructor arguments ask for what we do not have."""
    for name, only in supported.items():
        if args.get(name, only) != only:
            raise UnsupportedCaseError(f"{family} with {name} {args[name]!r}")


def _build_swin(args: Mapping[str, Any], out_features: tuple[str, ...]) -> nn.Module:
    fixed = {"patch_size": 4, "in_chans": 3, "patch_norm": True, "qkv_bias": True, "qk_scale": None, "ape": False}
    _require("Swin", args, fixed)
    return D2SwinTransformer(
        embed_dim=args["embed_dim"],
        depths=args["depths"],
        num_heads=args["num_heads"],
        window_size=args["window_size"],
        mlp_ratio=args["mlp_ratio"],
        out_features=out_features,
    )


def _build_van(args: Mapping[str, Any], out_features: tuple[str, ...]) -> nn.Module:
    _require("VAN", args, {"in_chans": 3, "linear": False, "num_stages": len(args["embed_dims"])})
    return VAN(
        embed_dims=args["embed_dims"],
        depths=args["depths"],
        mlp_ratios=args["mlp_ratios"],
        out_features=out_features,
    )


def _build_twins(args: Mapping[str, Any], out_features: tuple[str, ...]) -> nn.Module:
    windowed = args["block_cls"] == "GroupBlock"
    kinds = {"block_cls": "GroupBlock" if windowed else "Block", "extra_norm": windowed}
    fixed = {"patch_size": 4, "in_chans": 3, "qkv_bias": True, "qk_scale": None, "norm_layer": "LayerNorm eps 1e-6"}
    _require("Twins", args, fixed | kinds)
    return (TwinsSVT if windowed else TwinsPCPVT)(
        embed_dims=args["embed_dims"],
        num_heads=args["num_heads"],
        depths=args["depths"],
        mlp_ratios=args["mlp_ratios"],
        sr_ratios=args["sr_ratios"],
        window_sizes=args["wss"] if windowed else None,
        out_features=out_features,
    )


def _build_mpvit(args: Mapping[str, Any], out_features: tuple[str, ...]) -> nn.Module:
    stages = len(args["embed_dims"])
    _require("MPViT", args, {"in_chans": 3, "num_stages": stages, "num_heads": [NUM_HEADS] * stages})
    return MPViT(
        embed_dims=args["embed_dims"],
        depths=args["num_layers"],
        num_paths=args["num_path"],
        mlp_ratios=args["mlp_ratios"],
        out_features=out_features,
    )


def _build_cvt(args: Mapping[str, Any], out_features: tuple[str, ...]) -> nn.Module:
    spec = args["spec"]
    stages = spec["NUM_STAGES"]
    same = {
        "QKV_BIAS": True, "POS_EMBED": False, "QKV_PROJ_METHOD": "dw_bn", "MLP_RATIO": spec["MLP_RATIO"][0],
        "KERNEL_QKV": 3, "PADDING_Q": 1, "PADDING_KV": 1, "STRIDE_Q": 1, "STRIDE_KV": 2,
    }  # fmt: skip
    by_stage = {"PATCH_SIZE": [7, 3, 3], "PATCH_STRIDE": [4, 2, 2], "PATCH_PADDING": [2, 1, 1]}
    class_token = {"CLS_TOKEN": [i == stages - 1 for i in range(stages)]}
    _require("CvT", args, {"in_chans": 3})
    _require("CvT", spec, {name: [value] * stages for name, value in same.items()} | by_stage | class_token)
    return CvT(
        embed_dims=spec["DIM_EMBED"],
        num_heads=spec["NUM_HEADS"],
        depths=spec["DEPTH"],
        mlp_ratio=spec["MLP_RATIO"][0],
        out_features=out_features,
    )


def _build_vit_adapter(args: Mapping[str, Any], out_features: tuple[str, ...]) -> nn.Module:
    fixed = {"patch_size": 16, "in_chans": 3, "qkv_bias": True, "layer_scale": True, "img_size": args["pretrain_size"]}
    _require("ViT-Adapter", args, fixed)
    return ViTAdapter(
        embed_dim=args["embed_dim"],
        num_heads=args["num_heads"],
        deform_num_heads=args["deform_num_heads"],
        deform_ratio=args["deform_ratio"],
        pretrain_size=args["pretrain_size"],
        depth=args["depth"],
        interaction_indexes=args["interaction_indexes"],
        mlp_ratio=args["mlp_ratio"],
        windows=[side if on else 0 for on, side in zip(args["window_attn"], args["window_size"], strict=True)],
        prior_width=args["conv_inplane"],
        points=args["n_points"],
        conv_ffn_ratio=args["cffn_ratio"] if args["with_cffn"] else 0,
        extra_extractors=args["use_extra_extractor"],
        add_vit_features=args["add_vit_feature"],
        out_features=out_features,
    )


# Family -> how to build it from the official constructor's arguments and the names of the wanted maps.
BACKBONE_FAMILIES: dict[str, Callable[[Mapping[str, Any], tuple[str, ...]], nn.Module]] = {
    "cvt": _build_cvt,
    "swin": _build_swin,
    "twins": _build_twins,
    "mpvit": _build_mpvit,
    "van": _build_van,
    "vit_adapter": _build_vit_adapter,
}
