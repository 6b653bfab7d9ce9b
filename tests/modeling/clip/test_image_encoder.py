import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP

from catseg.modeling.clip.image_encoder import DenseImageEncoder, add_prompt_tokens
from tests.tiny import CLIP_CONFIG

VISION = CLIP_CONFIG["vision_cfg"]


def tiny_clip(**vision: object) -> CLIP:
    torch.manual_seed(0)
    return CLIP(**CLIP_CONFIG | {"vision_cfg": VISION | vision}).eval()


def test_all_blocks_but_the_last_are_the_ordinary_encoder() -> None:
    """With the class token as the only token, attention is its value path, so dense and pooled features agree."""
    visual = tiny_clip().visual
    images = torch.rand(2, 3, 32, 32)
    tokens = visual.ln_pre(
        torch.cat((visual.class_embedding.expand(2, 1, -1), visual.conv1(images).flatten(2).transpose(1, 2)), dim=1)
        + visual.positional_embedding
    )
    before_last = visual.transformer.resblocks[0](tokens)
    last = visual.transformer.resblocks[1]
    one_by_one = last(before_last.flatten(0, 1).unsqueeze(1)).squeeze(1).unflatten(0, (2, 17))
    expected = visual.ln_post(one_by_one) @ visual.proj
    encoder = DenseImageEncoder(visual=visual, grid=(4, 4))
    torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)


def test_the_class_token_can_be_what_all_values_are_added_to() -> None:
    visual = tiny_clip().visual
    images = torch.rand(2, 3, 32, 32)
    encoder = DenseImageEncoder(visual=visual, grid=(4, 4), class_token_residual=True)
    dense, (before_last,) = encoder.encode(images, blocks=[0])
    last = visual.transformer.resblocks[1]
    class_token = visual.transformer.resblocks[0](encoder._embed(images))[:, :1]
    patches = before_last.flatten(2).transpose(1, 2)
    weight, bias = last.attn.in_proj_weight[64:], last.attn.in_proj_bias[64:]
    x = class_token + last.attn.out_proj(F.linear(last.ln_1(patches), weight, bias))
    expected = visual.ln_post(x + last.mlp(last.ln_2(x))) @ visual.proj
    torch.testing.assert_close(dense[:, 1:], expected)


@pytest.mark.parametrize("depth", [0, 2])
def test_tokens_of_blocks_are_maps_without_class_token_and_prompts(depth: int) -> None:
    visual = tiny_clip(layers=3).visual
    add_prompt_tokens(visual, depth=depth, length=2 * (depth > 0))
    encoder = DenseImageEncoder(visual=visual, grid=(4, 4))
    images = torch.rand(2, 3, 32, 32)
    dense, (second, first) = encoder.encode(images, blocks=[1, 0])
    assert first.shape == second.shape == (2, 32, 4, 4)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(dense, encoder(images))
    if not depth:
        expected = visual.transformer.resblocks[0](encoder._embed(images))[:, 1:]
        torch.testing.assert_close(first.flatten(2).transpose(1, 2), expected)


def test_positions_follow_the_grid() -> None:
    encoder = DenseImageEncoder(visual=tiny_clip().visual, grid=(3, 6))
    assert encoder.input_size == (24, 48)
    assert encoder(torch.rand(1, 3, 24, 48)).shape == (1, 19, 16)


def test_checkpointing_changes_memory_not_gradients() -> None:
    gradients = []
    for checkpointed in (False, True):
        visual = tiny_clip().visual
        encoder = DenseImageEncoder(visual=visual, grid=(4, 4), activation_checkpointing=checkpointed)
        encoder(torch.full((1, 3, 32, 32), 0.5)).square().sum().backward()
        gradients.append(visual.transformer.resblocks[0].attn.in_proj_weight.grad)
    torch.testing.assert_close(*gradients)


def dense_with_prompts(visual: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The same, written plainly for a model of two blocks."""
    prompts = visual.transformer.prompt_tokens
    depth, length, _ = prompts.shape
    patches = visual.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat((visual.class_embedding.expand(len(images), 1, -1), patches), dim=1)
    x = visual.ln_pre(x + visual.positional_embedding)
    first, last = visual.transformer.resblocks
    own = x[:, 1:]
    x = first(torch.cat((x[:, :1], prompts[0].expand(len(images), -1, -1), own), dim=1))
    if depth == 2:
        x = torch.cat((x[:, :1], prompts[1].expand(len(images), -1, -1), x[:, 1 + length :]), dim=1)
    width = x.shape[-1]
    value = F.linear(last.ln_1(x), last.attn.in_proj_weight[2 * width :], last.attn.in_proj_bias[2 * width :])
    x = x + last.attn.out_proj(value)
    x = x + last.mlp(last.ln_2(x))
    return visual.ln_post(torch.cat((x[:, :1], x[:, 1 + length :]), dim=1)) @ visual.proj


@pytest.mark.parametrize("depth", [1, 2])
def test_prompts_enter_their_blocks_and_leave_the_output(depth: int) -> None:
    visual = tiny_clip().visual
    add_prompt_tokens(visual, depth=depth, length=3)
    images = torch.rand(2, 3, 32, 32)
    dense = DenseImageEncoder(visual=visual, grid=(4, 4))(images)
    assert dense.shape == (2, 17, 16)
    torch.testing.assert_close(dense, dense_with_prompts(visual, images))


def test_no_prompts_add_no_parameter() -> None:
    visual = tiny_clip().visual
    add_prompt_tokens(visual, depth=0, length=0)
    assert not any("prompt" in name for name, _ in visual.named_parameters())


@pytest.mark.parametrize(("depth", "length"), [(3, 1), (0, 2), (2, 0)])
def test_impossible_prompts_are_named(depth: int, length: int) -> None:
    with pytest.raises(ValueError, match=f"PROMPT_DEPTH {depth} and CLIP.PROMPT_LENGTH {length} .* at most 2 blocks"):
        add_prompt_tokens(tiny_clip().visual, depth=depth, length=length)


@pytest.mark.parametrize("vision", [{"qk_norm": True}, {"attentional_pool": True}])
def test_encoders_without_a_value_path_are_refused(vision: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="plain ViT"):
        DenseImageEncoder(visual=tiny_clip(**vision).visual, grid=(4, 4))


def test_layer_scale_and_missing_pre_norm_are_respected() -> None:
    visual = tiny_clip(ls_init_value=0.5, no_ln_pre=True).visual
    images = torch.rand(1, 3, 32, 32)
    scaled = DenseImageEncoder(visual=visual, grid=(4, 4))(images)
    for block in visual.transformer.resblocks:
        block.ls_1.gamma.data.zero_()
        block.ls_2.gamma.data.zero_()
    patches = visual.conv1(images).flatten(2).transpose(1, 2) + visual.positional_embedding[1:]
    untouched = visual.ln_post(patches) @ visual.proj
    torch.testing.assert_close(DenseImageEncoder(visual=visual, grid=(4, 4))(images)[:, 1:], untouched)
    assert not torch.allclose(scaled[:, 1:], untouched)


def test_parameters_are_not_copied() -> None:
    visual = tiny_clip().visual
    encoder = DenseImageEncoder(visual=visual, grid=(4, 4))
    visual.proj.data.zero_()
    assert encoder(torch.rand(1, 3, 32, 32)).abs().max() == 0
