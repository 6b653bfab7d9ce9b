"""Build a CLIP model and its tokenizer: the only caller of open_clip's factories.

A model is named either as open_clip names it ("ViT-L-14-336-quickgelu"), or by the path of a JSON file of the same
form as open_clip's own (keys `embed_dim`, `vision_cfg`, `text_cfg`, optionally `quick_gelu`). The files in `models/`
beside this module are models of our own, known to open_clip by their names ("catseg-shapes"). Plain vision transformers
and EVA02-CLIP are accepted, since the dense features are read from the value path of the last block.
"""

import difflib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import open_clip
import timm
import torch
from open_clip.model import CLIP
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

from catseg.errors import InputError, RunError
from catseg.modeling.clip.weights import load_weights
from catseg.modeling.layers.activations import use_lean_activations
from catseg.weight_files.kinds import describe_folder

logger = logging.getLogger(__name__)

_IMAGE_SIZE, _PATCH_SIZE, _WIDTH, _LAYERS = 224, 16, 768, 12  # open_clip's own defaults
_EVA02 = re.compile(r"eva02_\w+_clip_\d+")  # what timm calls the image encoders of EVA02-CLIP

open_clip.add_model_config(Path(__file__).with_name("models"))

Tokenizer: TypeAlias = SimpleTokenizer | HFTokenizer


def build_clip(name: str, weights: str = "", *, image_size: int | None = None) -> CLIP:
    """Build a CLIP model in float32 on the CPU.

    Args:
        name: an open_clip model name ("ViT-B-16-quickgelu"; "ViT-B/16" is read as "ViT-B-16"), or the path of an
            open_clip model JSON file.
        weights: "" for random weights, one of open_clip's pretrained tags for `name` ("openai",
            "laion2b_s32b_b79k"; downloaded when not yet in the Hugging Face cache), or the path of a checkpoint that
            `catseg.weight_files.reader` reads, under the names of open_clip, OpenAI or Hugging Face's transformers.
        image_size: side in pixels that the position table of the image encoder is made for, when it is not the
            one in the model's own config; the table of the weights is then resized (bicubic, by open_clip).

    Returns:
        The model, every parameter trainable, in training mode.

    Raises:
        ValueError: if the name or the tag is unknown, `image_size` is no multiple of the patches, the model is not
            a plain vision transformer with open_clip's own text encoder, the weights were trained with another
            activation than the model has, or the file of weights cannot be read or does not fit the model.
        FileNotFoundError: if `name` or `weights` is a path without a file.
        RuntimeError: if the weights cannot be downloaded.
    """
    config = model_config(name)
    if image_size is not None:
        patch = vision_sizes(name).patch
        if image_size % patch:
            raise InputError(f"MODEL.CLIP.IMAGE_SIZE is {image_size}, expected 0 or a multiple of the patches' {patch}")
        config["vision_cfg"]["image_size"] = image_size
    checkpoint = find_weights(name, weights)
    try:
        model = CLIP(**config)
    except (TypeError, AssertionError) as error:
        raise InputError(f"the config of CLIP model {name!r} is not one open_clip can build: {error}") from error
    if image_size is not None and "timm_model_name" in config["vision_cfg"]:
        model.visual.set_input_size(image_size)  # timm's models take it when they are there
    use_lean_activations(model, open_clip.transformer.QuickGELU)
    if checkpoint is None:
        logger.info("CLIP %s is initialised at random", name)
    else:
        load_weights(model, checkpoint, name)
    return model


def build_tokenizer(name: str) -> Tokenizer:
    """Build the tokenizer that belongs to a CLIP model. CLIP's own byte-pair encoding needs no network.

    Args:
        name: as in `build_clip`.

    Returns:
        A callable from a list of N strings to an int64 tensor (N, context length of the model).

    Raises:
        ValueError, FileNotFoundError: as `build_clip`, or if the model has fewer token embeddings than the
            tokenizer has tokens.
        RuntimeError: if the model wants a Hugging Face tokenizer that is not at hand.
    """
    text_config = model_config(name)["text_cfg"]
    options: dict[str, Any] = dict(text_config.get("tokenizer_kwargs") or {})
    options["context_length"] = text_config.get("context_length", 77)
    source = text_config.get("hf_tokenizer_name")
    if source:
        try:
            return HFTokenizer(source, tokenizer_mode=text_config.get("tokenizer_mode"), **options)
        except Exception as error:  # transformers raises OSError, ImportError, ValueError and its own kinds
            raise RunError(
                f"CLIP model {name!r} needs the Hugging Face tokenizer {source!r}, which could not be loaded: {error}\n"
                f"Install transformers and run once with network access, or `hf download {source}`."
            ) from error
    tokenizer = SimpleTokenizer(**options)
    vocabulary_size = text_config.get("vocab_size", tokenizer.vocab_size)
    if vocabulary_size < tokenizer.vocab_size:
        raise InputError(
            f"CLIP model {name!r} has {vocabulary_size} token embeddings, its tokenizer {tokenizer.vocab_size} tokens: "
            f"text_cfg.vocab_size must be at least {tokenizer.vocab_size}"
        )
    return tokenizer


def model_config(name: str) -> dict[str, Any]:
    """Read and check the open_clip config of a CLIP model.

    Args:
        name: as in `build_clip`.

    Returns:
        The arguments of `open_clip.model.CLIP`, free to be changed.

    Raises:
        ValueError: if the name is unknown, the file is not an open_clip model config, or the model is neither a plain
            vision transformer nor EVA02 with open_clip's own text encoder.
        FileNotFoundError: if `name` is the path of a file that does not exist.
    """
    builtin = _builtin_name(name)
    if builtin is not None:
        config = open_clip.get_model_config(builtin)
    elif name.endswith(".json"):
        config = _read_config_file(Path(name))
    else:
        raise InputError(
            f"MODEL.CLIP.NAME: unknown CLIP model {name!r}; {_suggest(name)}, or give the path of a model .json file"
        )
    _check_supported(name, config)
    config.pop("custom_text", None)
    return config


def is_clip_name(name: str) -> bool:
    """Tell whether a CLIP model is named, known to open_clip or by the path of a JSON file, which need not be there."""
    return _builtin_name(name) is not None or name.endswith(".json")


@dataclass(frozen=True)
class VisionSizes:
    """Sizes of an image encoder.

    Attributes:
        image: side of the images that it was made for, in pixels.
        patch: side of a patch, in pixels.
        width: of its tokens.
        layers: number of its blocks.
        output_dim: width of the joint embedding.
    """

    image: int
    patch: int
    width: int
    layers: int
    output_dim: int


def vision_sizes(name: str) -> VisionSizes:
    """Return the sizes of the image encoder of a CLIP model, which is not built.

    Args:
        name: as in `build_clip`.

    Raises:
        ValueError, FileNotFoundError: as `model_config`.
    """
    config = model_config(name)
    vision = config["vision_cfg"]
    image = vision.get("image_size", _IMAGE_SIZE)
    if "timm_model_name" in vision:
        with torch.device("meta"):
            trunk = timm.create_model(vision["timm_model_name"])
        return VisionSizes(
            image, trunk.patch_embed.patch_size[0], trunk.embed_dim, len(trunk.blocks), config["embed_dim"]
        )
    return VisionSizes(
        image,
        vision.get("patch_size", _PATCH_SIZE),
        vision.get("width", _WIDTH),
        vision.get("layers", _LAYERS),
        config["embed_dim"],
    )


def find_weights(name: str, weights: str) -> Path | None:
    """Return the file of a CLIP model's weights, downloaded if need be; None for random weights.

    Arguments and errors are those of `build_clip`.
    """
    if not weights:
        return None
    builtin = _builtin_name(name)
    pretrained = open_clip.get_pretrained_cfg(builtin, weights) if builtin else {}
    if pretrained:
        quick_gelu = model_config(name).get("quick_gelu", False)
        _check_activation(name, weights, model=quick_gelu, weights_have=pretrained.get("quick_gelu", False))
        return _download(name, weights, pretrained)
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(f"MODEL.CLIP.WEIGHTS names {path}, which {describe_folder(path)}")
    if path.suffix or path.name != weights:
        raise FileNotFoundError(f"no CLIP checkpoint {path.absolute()} (weights of {name!r})")
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(builtin)) if builtin else ""
    known = f"open_clip has these for it: {tags}" if tags else "open_clip has no pretrained weights for it"
    raise InputError(
        f"MODEL.CLIP.WEIGHTS: unknown weights {weights!r} for CLIP model {name!r}; {known}. "
        "A checkpoint's path or '' (random) also do"
    )


def _builtin_name(name: str) -> str | None:
    cleaned = name.replace("/", "-")
    return cleaned if cleaned in open_clip.list_models() else None


def _suggest(name: str) -> str:
    names = {known.lower(): known for known in open_clip.list_models() if "ViT-" in known}
    close = difflib.get_close_matches(name.replace("/", "-").lower(), names, n=4, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(names[match] for match in close)
    return "open_clip knows, among others, ViT-B-16-quickgelu, ViT-L-14-336-quickgelu, ViT-H-14 and ViT-bigG-14"


def _read_config_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no CLIP model config {path.absolute()}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    config = content.get("model_cfg", content) if isinstance(content, dict) else {}  # as on the Hugging Face hub
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]
    if missing:
        raise InputError(f"{path} is not an open_clip model config: it lacks {', '.join(missing)}")
    return config


def _check_supported(name: str, config: dict[str, Any]) -> None:
    """Raise a ValueError unless the config describes a ViT or EVA02 with open_clip's own text transformer."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    problem = None
    is_eva = bool(_EVA02.fullmatch(vision.get("timm_model_name") or ""))
    if vision.get("timm_model_name") and not is_eva:
        problem = f"its image encoder is timm's {vision['timm_model_name']}"
    elif isinstance(vision.get("layers"), list | tuple):
        problem = "its image encoder is a ResNet"
    elif vision.get("attentional_pool"):
        problem = "its image encoder ends in attentional pooling"
    elif text.get("hf_model_name"):
        problem = f"its text encoder is Hugging Face's {text['hf_model_name']}"
    elif text.get("embed_cls") or (config.get("custom_text") and not is_eva) or "multimodal_cfg" in config:
        problem = "its text encoder is not the plain CLIP one"
    if problem:
        raise InputError(
            f"CLIP model {name!r} is not supported: {problem}. Wanted is a plain vision transformer or EVA02 with a "
            "plain text transformer, such as ViT-B-16-quickgelu, ViT-L-14-336-quickgelu, ViT-H-14 or EVA02-B-16"
        )


def _check_activation(name: str, weights: str, *, model: bool, weights_have: bool) -> None:
    if model == weights_have:
        return
    other = name.removesuffix("-quickgelu") if model else f"{name}-quickgelu"
    functions = {True: "QuickGELU", False: "GELU"}
    raise InputError(
        f"CLIP weights {weights!r} were trained with {functions[weights_have]}, but model {name!r} has "
        f"{functions[model]}, which would give wrong features: use {other!r}"
    )


def _download(name: str, weights: str, pretrained: dict[str, Any]) -> Path:
    try:
        return Path(open_clip.download_pretrained(pretrained))
    except Exception as error:  # whatever the hub client or urllib raises without network
        repository = pretrained["hf_hub"].strip("/")
        raise RunError(
            f"the weights {weights!r} of CLIP model {name!r} could not be downloaded: {error}\n"
            f"Without network: get the .safetensors or .bin file of {repository} on another machine "
            f"(`hf download {repository}`), copy it here and give its path in place of the tag."
        ) from error
