import json
import os
import pickle
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from catseg.modeling.clip import loading
from catseg.modeling.clip.loading import build_clip, build_tokenizer


def same_weights(model, weights):
    return all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_builtin_model_is_open_clip_s():
    model = build_clip("ViT-S-32-alt")
    expected = open_clip.create_model("ViT-S-32-alt").state_dict()
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["ViT-B/16", "ViT-L-14-336-quickgelu", "ViT-H-14", "ViT-bigG-14"])
def test_published_models_have_a_config(name):
    assert loading.model_config(name)["vision_cfg"]["patch_size"] == (16 if "16" in name else 14)


def test_config_file_as_on_the_hub(write_config, tmp_path):
    plain = json.loads(Path(write_config()).read_text())
    nested = tmp_path / "open_clip_config.json"
    nested.write_text(json.dumps({"model_cfg": plain, "preprocess_cfg": {}}))
    assert build_clip(str(nested)).visual.output_dim == plain["embed_dim"]


def test_image_size_resizes_the_position_table(write_config, tmp_path):
    name = write_config()
    small = build_clip(name)
    torch.save(small.state_dict(), tmp_path / "clip.pt")
    large = build_clip(name, str(tmp_path / "clip.pt"), image_size=64)
    assert large.visual.positional_embedding.shape == (1 + 4 * 4, 16)
    assert torch.equal(large.visual.positional_embedding[0], small.visual.positional_embedding[0])
    assert torch.equal(large.visual.proj, small.visual.proj)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_local_checkpoint_in_half_precision_becomes_float32(write_config, tmp_path, suffix):
    name = write_config()
    weights = {key: tensor.half() for key, tensor in build_clip(name).state_dict().items()}
    path = tmp_path / f"clip{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(weights, path)
    model = build_clip(name, str(path))
    assert same_weights(model, {key: tensor.float() for key, tensor in weights.items()})


def test_checkpoint_that_could_run_code_is_refused(write_config, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "clip.pt"
    torch.save({"state_dict": Payload()}, path, pickle_module=pickle)
    with pytest.raises(ValueError, match=r"clip\.pt could not be loaded into CLIP model"):
        build_clip(write_config(), str(path))
    assert not (tmp_path / "ran").exists()


def test_checkpoint_of_another_model_is_an_error_that_names_both(write_config, tmp_path):
    torch.save({"token_embedding.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    name = write_config()
    with pytest.raises(ValueError, match=r"other\.pt could not be loaded.*small\.json") as error:
        build_clip(name, str(tmp_path / "other.pt"))
    assert "positional_embedding" in str(error.value)


def test_tag_is_downloaded_and_loaded(monkeypatch, tmp_path):
    trained = build_clip("ViT-S-32-alt").state_dict()
    torch.save(trained, tmp_path / "hub.pt")
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: {"hf_hub": "org/model/"})
    monkeypatch.setattr(open_clip, "download_pretrained", lambda config: str(tmp_path / "hub.pt"))
    assert same_weights(build_clip("ViT-S-32-alt", "some_tag"), trained)


def test_failed_download_says_how_to_get_the_file(monkeypatch):
    def no_network(config):
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip, "download_pretrained", no_network)
    with pytest.raises(RuntimeError, match="no route to host") as error:
        build_clip("ViT-L-14-336-quickgelu", "openai")
    assert "hf download timm/vit_large_patch14_clip_336.openai" in str(error.value)


def test_weights_for_the_other_activation_are_refused_before_any_download():
    with pytest.raises(ValueError, match=r"trained with QuickGELU.*use 'ViT-B-16-quickgelu'"):
        build_clip("ViT-B-16", "openai")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("RN50", "ResNet"),
        ("ViT-B-16-SigLIP", "timm's vit_base_patch16_siglip_224"),
        ("coca_ViT-B-32", "attentional pooling"),
        ("coca_base", "text encoder"),
        ("roberta-ViT-B-32", "Hugging Face's roberta-base"),
    ],
)
def test_unsupported_models_say_why(name, reason):
    with pytest.raises(ValueError, match=f"{name}' is not supported: .*{reason}"):
        build_clip(name)


@pytest.mark.parametrize("typo", ["ViT-B-16-quikgelu", "vit-b-16-quickgelu", "ViT-B16-quickgelu"])
def test_unknown_name_suggests_close_ones(typo):
    with pytest.raises(ValueError, match=f"unknown CLIP model '{typo}'; did you mean .*ViT-B-16-quickgelu"):
        build_clip(typo)


def test_unknown_name_like_no_other():
    with pytest.raises(ValueError, match="open_clip knows, among others, ViT-B-16-quickgelu"):
        build_clip("!")


def test_unknown_tag_lists_the_known_ones(write_config):
    with pytest.raises(ValueError, match=r"unknown weights 'opnai'.*openai"):
        build_clip("ViT-B-16-quickgelu", "opnai")
    with pytest.raises(ValueError, match="open_clip has no pretrained weights for it"):
        build_clip(write_config(), "openai")


def test_missing_files(tmp_path, write_config):
    with pytest.raises(FileNotFoundError, match=r"no CLIP model config .*absent\.json"):
        build_clip(str(tmp_path / "absent.json"))
    with pytest.raises(FileNotFoundError, match=r"no CLIP checkpoint .*absent\.pt"):
        build_clip(write_config(), str(tmp_path / "absent.pt"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "lacks embed_dim, vision_cfg, text_cfg"),
        ('{"embed_dim": 8, "vision_cfg": {}}', "lacks text_cfg"),
        ('{"embed_dim": 8, "vision_cfg": {"witdh": 8}, "text_cfg": {}}', "witdh"),
    ],
)
def test_wrong_config_files(tmp_path, content, message):
    path = tmp_path / "wrong.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        build_clip(str(path))


def test_tokenizer_takes_the_context_length_of_the_model(write_config):
    tokens = build_tokenizer(write_config(context_length=9))(["a photo of a cat"])
    assert tokens.tolist() == [[49406, 320, 1125, 539, 320, 2368, 49407, 0, 0]]


def test_tokenizer_with_more_tokens_than_the_model_is_refused(write_config):
    with pytest.raises(ValueError, match="vocab_size must be at least 49408"):
        build_tokenizer(write_config(vocab_size=1000))


def test_missing_hugging_face_tokenizer_is_named(monkeypatch, write_config):
    def absent(source, **options):
        raise OSError(f"no {source} here")

    monkeypatch.setattr(loading, "HFTokenizer", absent)
    with pytest.raises(RuntimeError, match=r"needs the Hugging Face tokenizer 'org/words'.*no org/words here"):
        build_tokenizer(write_config(hf_tokenizer_name="org/words"))
