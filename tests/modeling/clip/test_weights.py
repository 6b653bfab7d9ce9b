import json
import logging

import pytest
import torch
from torch import nn
from torch.nn import functional

from catseg.modeling.clip.loading import build_clip
from tests.modeling.clip.conftest import clip_config

WIDTH, EMBEDDING, TOKENS, PATCH = 128, 8, 77, 16


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x, mask):
        q, k, v = (
            layer(x).unflatten(-1, (-1, 64)).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = Attention()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, 4 * WIDTH), "fc2": nn.Linear(4 * WIDTH, WIDTH)})

    def forward(self, x, mask=None):
        x = x + self.self_attn(self.layer_norm1(x), mask)
        hidden = self.mlp["fc1"](self.layer_norm2(x))
        return x + self.mlp["fc2"](hidden * torch.sigmoid(1.702 * hidden))


class Transformers(nn.Module):
    """CLIPModel as Hugging Face's transformers names and computes it, of 2 layers per encoder."""

    def __init__(self):
        super().__init__()
        text = {"token_embedding": nn.Embedding(49408, WIDTH), "position_embedding": nn.Embedding(TOKENS, WIDTH)}
        image = {
            "patch_embedding": nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False),
            "position_embedding": nn.Embedding(5, WIDTH),
        }

        def encoder(embeddings, **norms):
            layers = nn.ModuleDict({"layers": nn.ModuleList([Layer(), Layer()])})
            return nn.ModuleDict({"embeddings": nn.ModuleDict(embeddings), "encoder": layers, **norms})

        self.text_model = encoder(text, final_layer_norm=nn.LayerNorm(WIDTH))
        self.vision_model = encoder(image, pre_layrnorm=nn.LayerNorm(WIDTH), post_layernorm=nn.LayerNorm(WIDTH))
        self.vision_model["embeddings"].class_embedding = nn.Parameter(torch.randn(WIDTH))
        for model, length in ((self.text_model, TOKENS), (self.vision_model, 5)):
            model["embeddings"].register_buffer("position_ids", torch.arange(length)[None])
        self.visual_projection = nn.Linear(WIDTH, EMBEDDING, bias=False)
        self.text_projection = nn.Linear(WIDTH, EMBEDDING, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(3.0))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1)

    def encode_image(self, images):
        parts = self.vision_model["embeddings"]
        patches = parts["patch_embedding"](images).flatten(2).transpose(1, 2)
        x = torch.cat([parts.class_embedding.expand(len(images), 1, -1), patches], 1)
        x = self.vision_model["pre_layrnorm"](x + parts["position_embedding"].weight)
        for layer in self.vision_model["encoder"]["layers"]:
            x = layer(x)
        return self.visual_projection(self.vision_model["post_layernorm"](x[:, 0]))

    def encode_text(self, tokens):
        parts = self.text_model["embeddings"]
        x = parts["token_embedding"](tokens) + parts["position_embedding"].weight
        mask = torch.full((TOKENS, TOKENS), -torch.inf).triu(1)
        for layer in self.text_model["encoder"]["layers"]:
            x = layer(x, mask)
        x = self.text_model["final_layer_norm"](x)
        return self.text_projection(x[torch.arange(len(tokens)), tokens.argmax(-1)])


@pytest.fixture
def write(tmp_path):
    """Write a CLIP config; the arguments change its sizes."""

    def write_config(**sizes):
        path = tmp_path / "clip.json"
        sizes = {"vw": WIDTH, "vl": 2, "p": PATCH, "res": 32, "tw": WIDTH, "tl": 2, "e": EMBEDDING, **sizes}
        path.write_text(json.dumps(clip_config(**sizes)))
        return str(path)

    return write_config


@pytest.fixture
def load(tmp_path, write):
    """Load a state dict or a TorchScript program into a new CLIP model."""

    def load_weights(state, **sizes):
        path = tmp_path / "weights.pt"
        state.save(path) if isinstance(state, torch.jit.ScriptModule) else torch.save(state, path)
        return build_clip(write(**sizes), str(path))

    return load_weights


@pytest.fixture
def weights(write):
    return build_clip(write()).state_dict()


def same(model, weights):
    return all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def renamed(prefix, weights):
    return {f"{prefix}{name}": tensor for name, tensor in weights.items()}


@torch.no_grad()
def test_weights_of_transformers_compute_the_same(load):
    theirs = Transformers()
    ours = load(theirs.state_dict()).eval()
    images, tokens = torch.randn(3, 3, 32, 32), torch.randint(1, 49408, (3, TOKENS))
    torch.testing.assert_close(ours.encode_image(images), theirs.encode_image(images))
    torch.testing.assert_close(ours.encode_text(tokens), theirs.encode_text(tokens))
    assert ours.logit_scale == theirs.logit_scale


def test_weights_of_transformers_that_lack_one_tensor_are_an_error(load):
    state = Transformers().state_dict()
    del state["vision_model.encoder.layers.1.self_attn.k_proj.weight"]
    with pytest.raises(
        ValueError, match=r"1 of another shape: visual\S*resblocks\.1\.attn\.in_proj_weight \(256, 128\)"
    ):
        load(state)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_openais_torchscript_is_read(load, weights):
    class Program(nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("context_length", "input_resolution", "vocab_size"):
                self.register_buffer(name, torch.tensor(77))

        def forward(self, x):
            return x

    program = Program()
    for name, tensor in weights.items():
        *parents, last = name.split(".")
        module = program
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, nn.Module())
            module = getattr(module, parent)
        module.register_parameter(last, nn.Parameter(tensor.half()))
    model = load(torch.jit.script(program))
    assert same(model, {name: tensor.half().float() for name, tensor in weights.items()})


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "clip_model.", "model.clip.", "module.net.model."])
@pytest.mark.parametrize("container", [None, "state_dict", "model_state_dict", "ema"])
def test_wrappers_and_prefixes(load, weights, prefix, container):
    state = renamed(prefix, weights)
    assert same(load(state if container is None else {container: state, "epoch": 3}), weights)


def test_open_clips_custom_text_is_read(load, weights):
    text = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
    assert same(load({f"text.{name}" if name.startswith(text) else name: x for name, x in weights.items()}), weights)


def test_what_the_file_holds_beside_clip_is_said(load, weights, caplog):
    with caplog.at_level(logging.WARNING):
        model = load({**renamed("clip.", weights), "sem_seg_head.weight": torch.ones(1)})
    assert same(model, weights)
    assert "1 tensors of" in caplog.text
    assert "left out: sem_seg_head.weight" in caplog.text


def test_tensors_among_clips_that_are_not_clips_are_an_error(load, weights):
    with pytest.raises(ValueError, match=r"1 unknown: visual\.stranger"):
        load({**weights, "visual.stranger": torch.ones(1)})


@pytest.mark.parametrize(("part", "lacks"), [("visual.", "text"), ("transformer.", "image")])
def test_one_encoder_alone_says_which_is_lacking(load, weights, part, lacks):
    with pytest.raises(ValueError, match=rf"the file lacks the {lacks} encoder\); \d+ missing: .* and \d+ more$"):
        load({name: tensor for name, tensor in weights.items() if name.startswith(part)})


def test_weights_of_another_size_say_of_which(load, weights, tmp_path):
    with pytest.raises(
        ValueError, match="the file is of a model of width 128, 2 layers and patches of 16 in the image"
    ):
        load(weights, tl=3)
    torch.save(build_clip("ViT-S-32-alt").state_dict(), tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"'ViT-S-16-alt': .*\(CLIP; the file is of ViT-S-32-alt\)"):
        build_clip("ViT-S-16-alt", str(tmp_path / "other.pt"))


def test_a_position_table_that_is_no_square_is_an_error(load, weights):
    weights["visual.positional_embedding"] = torch.ones(7, WIDTH)
    with pytest.raises(ValueError, match=r"1 of another shape: visual\.positional_embedding \(7, 128\)"):
        load(weights)


def test_a_folder_says_what_to_name(write, tmp_path):
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "model.safetensors").touch()
    with pytest.raises(ValueError, match=r"is a folder: name the file of weights in it, such as .*model\.safetensors"):
        build_clip(write(), str(folder))
