"""EVA02-CLIP against open_clip's own model, with random weights, and against a plain transcription."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model
from timm.models import register_model
from timm.models.eva import Eva, _create_eva

from catseg.modeling.clip.eva_encoder import EvaImageEncoder
from catseg.modeling.clip.families import dense_image_encoder
from catseg.modeling.clip.finetuning import set_trainable
from catseg.modeling.clip.image_encoder import add_prompt_tokens
from catseg.modeling.clip.loading import build_clip, build_tokenizer, model_config, vision_sizes
from catseg.modeling.clip.text_encoder import TextEncoder
from catseg.vocabulary import Vocabulary
from tests.tiny import CLIP_CONFIG, tiny_config

TINY = "eva02_tiny_patch8_clip_32"
NAMES = ["EVA02-B-16", "EVA02-L-14", "EVA02-L-14-336"]


@register_model
def eva02_tiny_patch8_clip_32(pretrained: bool = False, **options: Any) -> Eva:
    """EVA02-CLIP of size B in small."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2, "mlp_ratio": 4 * 2 / 3}
    kind = {"qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True, "scale_attn_inner": True}
    rotation = {"use_rot_pos_emb": True, "ref_feat_shape": (3, 3)}
    return _create_eva(TINY, pretrained=pretrained, **sizes | kind | rotation | options)


@pytest.fixture
def config(tmp_path: Path) -> str:
    vision = {"image_size": 32, "timm_model_name": TINY, "timm_model_pretrained": False, "timm_pool": "token"}
    content = CLIP_CONFIG | {"vision_cfg": vision | {"timm_proj": None}, "custom_text": True, "quick_gelu": False}
    path = tmp_path / "eva.json"
    path.write_text(json.dumps(content))
    return str(path)


def random_weights(model: torch.nn.Module) -> None:
    """Fill even what starts at zero or one, so that nothing is left out unnoticed."""
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))


def own_and_open_clip_s(name: str) -> tuple[open_clip.CLIP, torch.nn.Module]:
    """Our model, and the one that open_clip makes of the same config, with the same weights."""
    torch.manual_seed(0)
    own = build_clip(name).eval()
    random_weights(own)
    if name.endswith(".json"):
        config = json.loads(Path(name).read_text())
        config.pop("custom_text")
        other = open_clip.model.CustomTextCLIP(**config)
    else:
        other = open_clip.create_model(name)
    state = own.state_dict()
    named = {key if key.startswith(("visual.", "logit_")) else f"text.{key}": value for key, value in state.items()}
    other.load_state_dict(named)
    return own, other.eval()


def check_pooled(name: str, grid: tuple[int, int] | None = None) -> None:
    own, other = own_and_open_clip_s(name)
    old = own.visual.trunk.patch_embed.grid_size
    encoder = dense_image_encoder(own.visual, grid=grid or old)
    assert isinstance(encoder, EvaImageEncoder)
    images = torch.randn(2, 3, *encoder.input_size)
    if grid is not None:  # open_clip's is made for the grid; its table is resized as ours is
        positions = encoder.resize_positions(own.visual.trunk.pos_embed[0], old, grid)
        other.visual.trunk.set_input_size(encoder.input_size)
        other.visual.trunk.pos_embed.data = positions[None]
    with torch.no_grad():
        tokens, _ = encoder.encode(images, last_block=encoder.ordinary_block)
        torch.testing.assert_close(tokens[:, 0], other.encode_image(images), rtol=1e-5, atol=1e-5)
        assert tokens.shape[1:] == (1 + encoder.grid[0] * encoder.grid[1], encoder.output_dim)
    text = TextEncoder(clip=own, tokenizer=build_tokenizer(name), templates=["a photo of a {}."])
    words = build_tokenizer(name)(["a photo of a red kite."])
    with torch.no_grad():
        expected = F.normalize(other.encode_text(words), dim=-1)
    torch.testing.assert_close(text.encode(Vocabulary(["red kite"]))[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grid", [None, (5, 5), (3, 7)])
def test_pooled_features_are_open_clip_s(config: str, grid: tuple[int, int] | None) -> None:
    check_pooled(config, grid)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_pooled_features_are_open_clip_s_at_full_size(name: str) -> None:
    check_pooled(name)


def plain_value_path(visual: Any, x: torch.Tensor, *, class_token: bool) -> torch.Tensor:
    """The last block without attention, then norm and projection."""
    block = visual.trunk.blocks[-1]
    value = F.linear(block.norm1(x), block.attn.v_proj.weight, block.attn.v_proj.bias)
    x = (x[:, :1] if class_token else x) + block.attn.proj(block.attn.norm(value))
    x = x + block.mlp(block.norm2(x))
    return F.linear(visual.trunk.norm(x), visual.trunk.head.weight, visual.trunk.head.bias)


@pytest.mark.parametrize("class_token", [False, True])
def test_dense_features_are_the_value_path(config: str, class_token: bool) -> None:
    visual = build_clip(config).eval().visual
    random_weights(visual)
    encoder = dense_image_encoder(visual, grid=(3, 5), class_token_residual=class_token)
    images = torch.randn(2, 3, 24, 40)
    dense, (second, first) = encoder.encode(images, blocks=[1, 0])
    before = encoder.ordinary_block(visual.trunk.blocks[0], encoder._embed(images))
    torch.testing.assert_close(first, before[:, 1:].transpose(1, 2).unflatten(2, (3, 5)))
    before = encoder.ordinary_block(visual.trunk.blocks[1], before)
    torch.testing.assert_close(second, before[:, 1:].transpose(1, 2).unflatten(2, (3, 5)))
    torch.testing.assert_close(dense, plain_value_path(visual, before, class_token=class_token))


def test_every_token_alone_is_its_value_path(config: str) -> None:
    """As the only token, it has no one else to attend to, and no rotation can matter."""
    visual = build_clip(config).eval().visual
    encoder = dense_image_encoder(visual, grid=(4, 4))
    x, block = torch.randn(2, 17, 32), visual.trunk.blocks[-1]
    alone = block(x.flatten(0, 1)[:, None])[:, 0].unflatten(0, (2, 17))
    torch.testing.assert_close(encoder._value_path(block, x), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "trained"),
    [
        ("attention", {"visual.trunk.blocks.0.attn.k_proj.weight", "visual.trunk.pos_embed"}),
        ("query_value", {"visual.trunk.blocks.0.attn.q_proj.weight", "transformer.resblocks.0.attn.v_proj_weight"}),
        ("full", {"visual.trunk.blocks.0.mlp.fc2.weight"}),
        ("none", set()),
    ],
)
def test_gradients_reach_what_is_fine_tuned(config: str, mode: str, trained: set[str]) -> None:
    clip = build_clip(config)
    set_trainable(clip, mode)
    chosen = {name for name, parameter in clip.named_parameters() if parameter.requires_grad}
    assert trained <= chosen
    assert bool(chosen) is bool(trained)
    assert not any("mlp" in name or "norm1" in name for name in chosen) or mode == "full"
    if mode == "none":
        return
    dense_image_encoder(clip.visual, grid=(4, 4))(torch.randn(1, 3, 32, 32)).square().sum().backward()
    lacking = {
        name for name, p in clip.named_parameters() if p.requires_grad and name.startswith("visual.") and p.grad is None
    }
    assert lacking == set()


def test_checkpoints_come_in_open_clip_s_names_and_other_sizes(config: str, tmp_path: Path) -> None:
    own, other = own_and_open_clip_s(config)
    torch.save(other.state_dict(), tmp_path / "eva.pt")
    again = build_clip(config, str(tmp_path / "eva.pt"))
    assert all(torch.equal(tensor, own.state_dict()[name]) for name, tensor in again.state_dict().items())
    larger = build_clip(config, str(tmp_path / "eva.pt"), image_size=48)
    assert larger.visual.trunk.pos_embed.shape == (1, 37, 32)
    grids = [dense_image_encoder(model.visual, grid=(6, 6)) for model in (again.eval(), larger.eval())]
    images = torch.randn(1, 3, 48, 48)
    torch.testing.assert_close(grids[0](images), grids[1](images))


@pytest.mark.parametrize("version", [1, 2])
def test_cat_seg_with_eva02(config: str, tmp_path: Path, version: int) -> None:
    second = {
        "MODEL__BACKBONE__NAME": "",
        "MODEL__CLIP__FINETUNE": "query_value",
        "MODEL__CLIP__CLASS_TOKEN_RESIDUAL": True,
        "MODEL__SEM_SEG_HEAD__CLASS_TOKENS": 8,
    }
    cfg = tiny_config(tmp_path, MODEL__CLIP__NAME=config, **(second if version == 2 else {}))
    model = build_model(cfg).eval()
    model.set_vocabulary(["wall", "sky"])
    model.set_train_vocabulary(["wall", "sky"])
    item = {"image": torch.randint(256, (3, 64, 64), dtype=torch.uint8), "sem_seg": torch.randint(2, (64, 64))}
    assert model([item])[0]["sem_seg"].shape == (2, 64, 64)
    model.train()([item])["loss_sem_seg"].backward()
    assert model.clip.visual.trunk.blocks[0].attn.q_proj.weight.grad.abs().max() > 0


def test_sizes_are_known_before_it_is_built() -> None:
    sizes = vision_sizes("EVA02-L-14-336")
    assert (sizes.image, sizes.patch, sizes.width, sizes.layers, sizes.output_dim) == (336, 14, 1024, 24, 768)


def test_what_eva02_has_not_is_refused(config: str) -> None:
    with pytest.raises(ValueError, match=r"must be 0 with a CLIP\.NAME that is no plain ViT"):
        add_prompt_tokens(build_clip(config).visual, depth=1, length=1)
    with pytest.raises(ValueError, match="its image encoder is timm's eva_giant_patch14_224"):
        model_config("EVA01-g-14")
