"""Selection of the CLIP parameters that are fine-tuned."""

import re

from torch import nn

from catseg.errors import InputError
from catseg.modeling.clip.projections import separate_projections

# Finetuning mode -> the names of the parameters that train, as a regular expression.
TRAINED_NAMES: dict[str, str] = {
    "attention": r"visual\..*(attn|position|pos_embed).*",
    "query_value": r"(visual\.)?transformer\..*\.[qv]_proj_weight|visual\.trunk\..*\.[qv]_proj\.weight",
    "full": r"visual\..*",
    "prompt": r"visual\..*prompt.*",
    "none": r"(?!)",
}


def set_trainable(clip: nn.Module, mode: str) -> None:
    """Mark the parameters of a CLIP model that train, and freeze the others (section 3.4 of the paper).

    Args:
        clip: an open_clip model.
        mode: `attention` trains the image encoder's attention layers and position embedding, `full` all of it,
            `prompt` its prompt tokens and `none` nothing; the text encoder is frozen in these. `query_value` trains the
            query and value weights of both encoders, which are separated from the keys' for it (CAT-Seg v2).

    Raises:
        ValueError: for any other `mode`, or `prompt` without prompt tokens.
    """
    if mode not in TRAINED_NAMES:
        raise InputError(f"CLIP.FINETUNE must be one of {', '.join(TRAINED_NAMES)}, got {mode!r}")
    if mode == "prompt" and not any("prompt" in name for name, _ in clip.named_parameters()):
        raise InputError("CLIP.FINETUNE prompt needs prompt tokens: set CLIP.PROMPT_DEPTH and CLIP.PROMPT_LENGTH")
    if mode == "query_value":
        separate_projections(clip)
    for name, parameter in clip.named_parameters():
        parameter.requires_grad_(re.fullmatch(TRAINED_NAMES[mode], name) is not None)
