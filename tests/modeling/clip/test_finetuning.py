import pytest
from open_clip.model import CLIP

from catseg.modeling.clip.finetuning import set_trainable
from catseg.modeling.clip.image_encoder import add_prompt_tokens
from tests.tiny import CLIP_CONFIG


def trained(mode: str) -> set[str]:
    clip = CLIP(**CLIP_CONFIG)
    add_prompt_tokens(clip.visual, depth=2, length=3)
    set_trainable(clip, mode)
    return {name for name, parameter in clip.named_parameters() if parameter.requires_grad}


def test_attention_trains_attention_layers_and_positions() -> None:
    per_block = ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    expected = {f"visual.transformer.resblocks.{i}.attn.{name}" for i in range(2) for name in per_block}
    assert trained("attention") == expected | {"visual.positional_embedding"}


def test_query_value_trains_these_weights_of_both_encoders() -> None:
    names = {"visual.transformer.resblocks.0", "visual.transformer.resblocks.1", "transformer.resblocks.0"}
    assert trained("query_value") == {f"{name}.attn.{part}_proj_weight" for name in names for part in "qv"}


def test_full_trains_the_image_encoder() -> None:
    clip = CLIP(**CLIP_CONFIG)
    names = {f"visual.{name}" for name, _ in clip.visual.named_parameters()}
    assert trained("full") == names | {"visual.transformer.prompt_tokens"}


def test_prompt_trains_prompts() -> None:
    assert trained("prompt") == {"visual.transformer.prompt_tokens"}


def test_none_trains_nothing() -> None:
    assert trained("none") == set()


def test_modes_can_be_changed() -> None:
    clip = CLIP(**CLIP_CONFIG)
    set_trainable(clip, "none")
    set_trainable(clip, "full")
    assert all(parameter.requires_grad for parameter in clip.visual.parameters())
    assert not clip.text_projection.requires_grad


def test_prompts_that_are_not_there_are_named() -> None:
    with pytest.raises(ValueError, match=r"set CLIP.PROMPT_DEPTH and CLIP.PROMPT_LENGTH"):
        set_trainable(CLIP(**CLIP_CONFIG), "prompt")


def test_unknown_mode_is_named() -> None:
    with pytest.raises(ValueError, match="attention, query_value, full, prompt, none, got 'attn'"):
        set_trainable(CLIP(**CLIP_CONFIG), "attn")
