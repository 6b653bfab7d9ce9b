"""Weights of CLIP: what open_clip, OpenAI and Hugging Face's transformers save, in open_clip's names."""

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP, resize_pos_embed, resize_text_pos_embed
from torch import Tensor

from catseg.errors import InputError
from catseg.modeling.layers.pos_embed import resize_position_embedding
from catseg.weight_files.fitting import check_fit, strip_prefix
from catseg.weight_files.reader import read_checkpoint
from catseg.weight_files.unwrap import shorten

logger = logging.getLogger(__name__)

_TEXT, _IMAGE = "transformer.resblocks", "visual.transformer.resblocks"
# Names of transformers' CLIPModel, and open_clip's. What begins with `text.` is of open_clip's CustomTextCLIP.
_RENAMES = (
    (r"text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"text_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"text_model\.encoder\.layers\.", f"{_TEXT}."),
    (r"text_model\.final_layer_norm\.", "ln_final."),
    (r"vision_model\.embeddings\.class_embedding", "visual.class_embedding"),
    (r"vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"vision_model\.embeddings\.position_embedding\.weight", "visual.positional_embedding"),
    (r"vision_model\.encoder\.layers\.", f"{_IMAGE}."),
    (r"vision_model\.pre_layrnorm\.", "visual.ln_pre."),  # their spelling
    (r"vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"visual_projection\.weight", "visual.proj"),
    (r"text_projection\.weight", "text_projection"),
    (r"(.*\.resblocks\.\d+\.)self_attn\.(q|k|v)_proj\.", r"\1attn.\2_"),
    (r"(.*\.resblocks\.\d+\.)self_attn\.out_proj\.", r"\1attn.out_proj."),
    (r"(.*\.resblocks\.\d+\.)layer_norm(\d)\.", r"\1ln_\2."),
    (r"(.*\.resblocks\.\d+\.mlp\.)fc1\.", r"\1c_fc."),
    (r"(.*\.resblocks\.\d+\.mlp\.)fc2\.", r"\1c_proj."),
    (r"text\.(?=token_embedding|positional_embedding|transformer|ln_final|text_projection)", ""),
)
_EVA_POSITIONS = "visual.trunk.pos_embed"
_TRANSPOSED = {"visual_projection.weight", "text_projection.weight"}  # Linear layers there, matrices here
_PART_OF_PROJECTION = re.compile(r"(.*\.attn\.)([qkv])_(weight|bias)")
# Sizes and masks that older programs saved beside the weights.
_DROPPED = re.compile(r"(?:.*\.)?(?:input_resolution|context_length|vocab_size|attn_mask|position_ids)")


def load_weights(model: CLIP, checkpoint: Path, name: str) -> None:
    """Fill a CLIP model with the weights in a file, all of it and with all of them.

    The position tables of the file are resized where the model has others (open_clip: bicubic for the image encoder).

    Args:
        model: to be filled.
        checkpoint: what `read_checkpoint` reads. Its tensors have the names of open_clip (which are OpenAI's), or of
            Hugging Face's transformers, all with the same prefix or none. What else the file holds is left out, with a
            warning.
        name: of the model, for messages.

    Raises:
        ValueError: if the file cannot be read, or the weights do not fit the model.
    """
    expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
    try:
        state, elsewhere = strip_prefix(read_checkpoint(checkpoint)["model"], lambda key: _fits(key, expected))
        state = to_open_clip(state)
        _resize(state, model, expected)
        check_fit(state, expected, source=f"CLIP{_hint(state, expected)}")
    except ValueError as error:
        raise InputError(f"{checkpoint} could not be loaded into CLIP model {name!r}: {error}") from error
    model.load_state_dict(state)
    if elsewhere:
        left_out = shorten(elsewhere)
        logger.warning("%d tensors of %s are not CLIP's and are left out: %s", len(elsewhere), checkpoint, left_out)
    logger.info("CLIP %s loaded from %s", name, checkpoint)


def to_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a CLIP to open_clip's names, joining and transposing those that are laid out otherwise.

    Args:
        state: name to tensor, under the names of open_clip, OpenAI or transformers' CLIPModel.

    Returns:
        Open_clip's name to tensor; names that are none of these stay as they are.
    """
    converted: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if _DROPPED.fullmatch(name):
            continue
        new = _rename(name)
        part = _PART_OF_PROJECTION.fullmatch(new)
        if part:
            parts.setdefault(f"{part[1]}in_proj_{part[3]}", {})[part[2]] = tensor
        else:
            converted[new] = tensor.T if name in _TRANSPOSED else tensor
    for name, found in parts.items():
        converted[name] = torch.cat([found[letter] for letter in "qkv" if letter in found])
    return converted


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(rf"\A(?:{pattern})", replacement, name)
    return name


def _fits(name: str, expected: Mapping[str, torch.Size]) -> bool:
    return _PART_OF_PROJECTION.sub(r"\1in_proj_\3", _rename(name)) in expected


def _resize(state: dict[str, Tensor], model: CLIP, expected: Mapping[str, torch.Size]) -> None:
    """Resize the position tables that fit but for their length, and give the scale of logits the model's shape."""
    for name, resize in (
        ("visual.positional_embedding", resize_pos_embed),
        ("positional_embedding", resize_text_pos_embed),
    ):
        table = state.get(name)
        if table is None or table.ndim != 2 or table.shape[1] != expected[name][1]:
            continue
        if resize is resize_text_pos_embed or math.isqrt(len(table) - 1) ** 2 == len(table) - 1:
            state[name] = table.float()
            resize(state, model)
    table, shape = state.get(_EVA_POSITIONS), expected.get(_EVA_POSITIONS)
    if table is not None and shape is not None and table.ndim == 3 and table.shape[2] == shape[2]:
        old, new = (math.isqrt(length - 1) for length in (table.shape[1], shape[1]))
        if old**2 == table.shape[1] - 1:
            state[_EVA_POSITIONS] = resize_position_embedding(table[0].float(), (old, old), (new, new))[None]
    if "logit_scale" in state and state["logit_scale"].numel() == 1:
        state["logit_scale"] = state["logit_scale"].reshape(expected["logit_scale"])


def _hint(state: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> str:
    """Say which model weights of other sizes are of, or which encoder a file lacks; "" where neither is known."""
    known = state.keys() & expected.keys() - {"logit_scale"}
    of_image = {name for name in known if name.startswith("visual.")}
    if known and not of_image:
        return "; the file lacks the image encoder"
    if known and of_image == known:
        return "; the file lacks the text encoder"
    sizes = _sizes({name: tensor.shape for name, tensor in state.items()})
    if sizes is None or sizes == _sizes(expected):
        return ""
    names = [name for name in open_clip.list_models() if _config_sizes(open_clip.get_model_config(name)) == sizes]
    described = "width {}, {} layers and patches of {} in the image encoder, width {} and {} layers in the text encoder"
    return f"; the file is of {min(names, key=len) if names else 'a model of ' + described.format(*sizes)}"


def _sizes(shapes: Mapping[str, torch.Size]) -> tuple[int, ...] | None:
    """Width, layers and patch size of the image encoder, width and layers of the text encoder."""
    patches, tokens = shapes.get("visual.conv1.weight"), shapes.get("token_embedding.weight")
    if patches is None or tokens is None or len(patches) != 4 or len(tokens) != 2:
        return None
    image, text = (
        len({key.removeprefix(blocks).split(".")[1] for key in shapes if key.startswith(f"{blocks}.")})
        for blocks in (_IMAGE, _TEXT)
    )
    return patches[0], image, patches[2], tokens[1], text


def _config_sizes(config: Mapping[str, Any]) -> tuple[Any, ...]:
    image, text = config["vision_cfg"], config["text_cfg"]
    return *(image.get(key) for key in ("width", "layers", "patch_size")), text.get("width"), text.get("layers")
