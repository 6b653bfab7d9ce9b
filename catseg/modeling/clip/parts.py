"""Build the parts that `MODEL.CLIP` describes: the CLIP model, its image encoder and its text encoder."""

from typing import Any

from detectron2.config import CfgNode

from catseg.config_checks import check_normalisation, check_sizes, pair
from catseg.modeling.clip.families import dense_image_encoder
from catseg.modeling.clip.finetuning import set_trainable
from catseg.modeling.clip.image_encoder import add_prompt_tokens
from catseg.modeling.clip.loading import build_clip, build_tokenizer
from catseg.modeling.clip.prompt_templates import prompt_templates
from catseg.modeling.clip.text_cache import TextCache
from catseg.modeling.clip.text_encoder import TextEncoder
from catseg.modeling.layers.images import ImageInput


def clip_parts_from_config(cfg: CfgNode) -> dict[str, Any]:
    """Build CLIP and its encoders.

    Args:
        cfg: read are `MODEL.CLIP`, `MODEL.ACTIVATION_CHECKPOINTING`, `MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION`, and
            `SOLVER.CLIP_MULTIPLIER`: 0 freezes all of CLIP.

    Returns:
        `clip`, the open_clip model, with its trained parameters marked; `image_encoder` and `text_encoder`, which read
        its parameters; and `clip_input`, which brings crops to what `image_encoder` expects.

    Raises:
        ValueError, FileNotFoundError, RuntimeError: as `build_clip`, `add_prompt_tokens` and `set_trainable`; for sizes
            and pixel means that are none.
    """
    options = cfg.MODEL.CLIP
    grid = pair("MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION", cfg.MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION)
    check_normalisation("MODEL.CLIP", options.PIXEL_MEAN, options.PIXEL_STD)
    check_sizes({"MODEL.CLIP.IMAGE_SIZE": options.IMAGE_SIZE}, lowest=0)
    clip = build_clip(options.NAME, options.WEIGHTS, image_size=options.IMAGE_SIZE or None)
    add_prompt_tokens(clip.visual, depth=options.PROMPT_DEPTH, length=options.PROMPT_LENGTH)
    set_trainable(clip, options.FINETUNE)
    if cfg.SOLVER.CLIP_MULTIPLIER == 0:
        clip.requires_grad_(False)  # after `set_trainable`, which may rename parameters
    clip.transformer.grad_checkpointing = cfg.MODEL.ACTIVATION_CHECKPOINTING  # of the text encoder, where it trains
    image_encoder = dense_image_encoder(
        clip.visual,
        grid=grid,
        class_token_residual=options.CLASS_TOKEN_RESIDUAL,
        activation_checkpointing=cfg.MODEL.ACTIVATION_CHECKPOINTING,
    )
    text_encoder = TextEncoder(
        clip=clip,
        tokenizer=build_tokenizer(options.NAME),
        templates=prompt_templates(options.TEMPLATES),
        first_synonym_only=options.FIRST_SYNONYM_ONLY,
        cache=TextCache.default() if options.TEXT_CACHE else None,
    )
    return {
        "clip": clip,
        "image_encoder": image_encoder,
        "text_encoder": text_encoder,
        "clip_input": ImageInput(mean=options.PIXEL_MEAN, std=options.PIXEL_STD, size=image_encoder.input_size),
    }
