"""Which parameters of CLIP train along with CAT-Seg."""

from torch import nn

# Finetuning mode -> a parameter of the image encoder trains if its name holds one of these.
TRAINED_NAMES: dict[str, tuple[str, ...]] = {
    "attention": ("attn", "position"),
    "full": ("",),
    "prompt": ("prompt",),
    "none": (),
}


def set_trainable(clip: nn.Module, mode: str) -> None:
    """Mark the parameters of a CLIP model that train, and freeze the others (section 3.4 of the paper).

    Args:
        clip: an open_clip model; its text encoder is frozen in every mode.
        mode: `attention` trains the image encoder's attention layers and position embedding, `full` all of it,
            `prompt` its prompt tokens and `none` nothing.

    Raises:
        ValueError: for any other `mode`, or `prompt` without prompt tokens.
    """
    if mode not in TRAINED_NAMES:
        raise ValueError(f"CLIP.FINETUNE must be one of {', '.join(TRAINED_NAMES)}, got {mode!r}")
    if mode == "prompt" and not any("prompt" in name for name, _ in clip.named_parameters()):
        raise ValueError("CLIP.FINETUNE prompt needs prompt tokens: set CLIP.PROMPT_DEPTH and CLIP.PROMPT_LENGTH")
    for name, parameter in clip.named_parameters():
        trained = name.startswith("visual.") and any(part in name for part in TRAINED_NAMES[mode])
        parameter.requires_grad_(trained)
