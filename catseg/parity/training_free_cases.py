"""Rebuild the image encoder of a reference case of CLIP without training, and compute what the case holds."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from catseg.atomic import write_json
from catseg.modeling.clip.image_encoder import DenseImageEncoder
from catseg.modeling.clip.loading import build_clip
from catseg.modeling.layers.pos_embed import resize_position_embedding_by_factors
from catseg.modeling.training_free.last_block import METHODS, PROXYCLIP, TrainingFreeBlock
from catseg.parity.case import ReferenceCase, UnsupportedCaseError

CSA = "csa"  # what NACLIP's code calls SCLIP
OPTIONS = ("gaussian_std", "beta", "gamma")  # where a method has them


def training_free_features(case: ReferenceCase, folder: Path, device: torch.device) -> Tensor:
    """Compute the dense features of a case.

    What is open in the product is as in the authors' code: the position table is resized by factors; and ProxyCLIP's
    code takes the patches of an image that is not square for those of the image turned over its diagonal.

    Args:
        case: the case.
        folder: where the CLIP model's config file is written.
        device: where to compute.

    Returns:
        `(B, tokens, C)`, not L2-normalised; with the class token if the case holds it.

    Raises:
        UnsupportedCaseError: if the case asks for something unknown.
        ValueError: if its weights do not fit.
    """
    config, images = case.config, torch.from_numpy(case.inputs["image"]).to(device)
    block = build_last_block(config)
    clip_file = folder / "clip.json"
    write_json(clip_file, clip_model_config(config))
    visual = build_clip(str(clip_file)).visual
    visual.load_state_dict({name.removeprefix("visual."): tensor for name, tensor in case.state_dict().items()})
    patch = config["vit"]["patch"]
    grid = (images.shape[2] // patch, images.shape[3] // patch)
    encoder = DenseImageEncoder(
        visual=visual.to(device).eval(), grid=grid, resize_positions=resize_position_embedding_by_factors
    )
    proxy = case.inputs.get("proxy_features")
    last_block = partial(
        block,
        grid=grid[::-1] if block.method == PROXYCLIP else grid,
        proxy=None if proxy is None else torch.from_numpy(proxy).to(device),
    )
    with torch.no_grad():
        features, _ = encoder.encode(images, last_block=last_block)
    has_class_token = features.shape[1] == case.outputs["features"].shape[1]
    return features if has_class_token else features[:, 1:]


def build_last_block(config: Mapping[str, Any]) -> TrainingFreeBlock:
    """Read the last block off a case's config.

    Raises:
        UnsupportedCaseError: if the method or a value is unknown.
    """
    method = {CSA: "sclip"}.get(config["method"], config["method"].lower())
    if method not in METHODS:
        raise UnsupportedCaseError(f"method {config['method']!r}; known are {', '.join([*METHODS, CSA])}")
    options = {name: config[name] for name in OPTIONS if name in config}
    if not options.get("gaussian_std"):
        options.pop("gaussian_std", None)  # 0 where a method does not use it
    return TrainingFreeBlock(method=method, residual=config["residual"], mlp=config["mlp"], **options)


def clip_model_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The open_clip model config of a case, with the smallest text encoder, which is not used."""
    vit, activation = config["vit"], config["activation"]
    if activation not in ("gelu", "quick_gelu"):
        raise UnsupportedCaseError(f"activation {activation!r}; known are gelu, quick_gelu")
    return {
        "embed_dim": vit["out"],
        "quick_gelu": activation == "quick_gelu",
        "vision_cfg": {
            "image_size": vit["image"],
            "layers": vit["layers"],
            "width": vit["width"],
            "head_width": vit["width"] // vit["heads"],
            "patch_size": vit["patch"],
        },
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
    }
