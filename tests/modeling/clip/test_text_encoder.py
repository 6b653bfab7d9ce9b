import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from catseg.modeling.clip import text_encoder
from catseg.modeling.clip.loading import build_clip, build_tokenizer
from catseg.modeling.clip.prompt_templates import prompt_templates
from catseg.modeling.clip.text_cache import TextCache
from catseg.modeling.clip.text_encoder import TextEncoder, text_parameters
from catseg.vocabulary import Vocabulary, load_vocabulary

TEMPLATES = ("a photo of a {}.", "itap of my {}.", "a {}")


@pytest.fixture
def encoder(clip, tokenizer):
    return TextEncoder(clip=clip, tokenizer=tokenizer, templates=TEMPLATES)


def uncut(clip, tokenizer, name):
    """Features (P, C) of a name without synonyms, through open_clip's own full-length path."""
    with torch.no_grad():
        tokens = tokenizer([template.format(name) for template in TEMPLATES], context_length=clip.context_length)
        return clip.encode_text(tokens, normalize=True)


def test_reference_text_features(clip, tokenizer, reference_case):
    encoder = TextEncoder(clip=clip, tokenizer=tokenizer, templates=prompt_templates("imagenet"))
    features = encoder.encode(load_vocabulary(reference_case.config["test_classes"]))
    outputs = reference_case.outputs
    expected = torch.from_numpy(outputs["text_features_test"]).view(*outputs["text_features_test_shape"])
    standard_deviation = outputs["text_features_test_stats"][1]
    assert features.dtype == torch.float32
    assert (features - expected).abs().max() / standard_deviation < 1e-5


@pytest.fixture(scope="module")
def shared_encoder(reference_config, reference_weights, tokenizer):
    clip = build_clip(reference_config)
    clip.load_state_dict(reference_weights)
    return TextEncoder(clip=clip.requires_grad_(False), tokenizer=tokenizer, templates=TEMPLATES, batch_size=4)


@settings(deadline=None, max_examples=30)
@given(
    name=st.text(max_size=12).filter(lambda name: name.strip() and ", " not in name),
    others=st.lists(st.sampled_from(["cat", "grand piano", "a very long winded description of a table"]), max_size=2),
)
def test_cutting_after_the_end_of_text_changes_nothing(shared_encoder, tokenizer, name, others):
    features = shared_encoder.encode(Vocabulary([name, *others]))
    for row, phrase in zip(features, [name, *others], strict=True):
        torch.testing.assert_close(row, uncut(shared_encoder._clip, tokenizer, phrase), rtol=0, atol=2e-6)


def test_tokens_after_the_end_are_not_computed(encoder, monkeypatch):
    lengths = []
    run = text_encoder.run_transformer
    monkeypatch.setattr(
        text_encoder, "run_transformer", lambda model, x, mask: lengths.append(x.shape[1]) or run(model, x, mask)
    )
    encoder.encode(Vocabulary(["cat"]))
    assert max(lengths) == 8  # start, "a photo of a cat .", end


@pytest.mark.parametrize(
    "pool", [{"no_causal_mask": True}, {"pool_type": "last"}, {"pool_type": "eos", "eos_id": 49407}]
)
def test_other_kinds_of_text_encoders(write_config, pool):
    name = write_config(context_length=12, **pool)
    model = build_clip(name).requires_grad_(False)
    model.token_embedding.weight.normal_()  # far enough apart for a wrong pooling to show
    tokenizer = build_tokenizer(name)
    features = TextEncoder(clip=model, tokenizer=tokenizer, templates=TEMPLATES).encode(
        Vocabulary(["cat", "night table"])
    )
    expected = torch.stack([uncut(model, tokenizer, phrase) for phrase in ("cat", "night table")])
    torch.testing.assert_close(features, expected, rtol=0, atol=2e-6)


def test_linear_or_no_projection(write_config):
    name = write_config(proj_bias=True)
    model = build_clip(name).requires_grad_(False)
    features = TextEncoder(clip=model, tokenizer=build_tokenizer(name), templates=TEMPLATES).encode(Vocabulary(["cat"]))
    torch.testing.assert_close(features[0], uncut(model, build_tokenizer(name), "cat"), rtol=0, atol=2e-6)
    model.text_projection = None
    features = TextEncoder(clip=model, tokenizer=build_tokenizer(name), templates=TEMPLATES).encode(Vocabulary(["cat"]))
    assert features.shape == (1, 3, 16)


def test_synonyms_are_averaged_and_normalised(encoder):
    building, edifice, wall = encoder.encode(Vocabulary(["building", "edifice", "wall"]))
    both = encoder.encode(Vocabulary([("building", "edifice"), "wall"]))
    torch.testing.assert_close(both[0], F.normalize((building + edifice) / 2, dim=-1), rtol=0, atol=1e-6)
    torch.testing.assert_close(both[1], wall, rtol=0, atol=1e-6)
    torch.testing.assert_close(both.norm(dim=-1), torch.ones(2, 3))


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_order_and_batches_do_not_matter(encoder, clip, tokenizer, batch_size):
    names = Vocabulary(["a table with a very long name", "cat", "dog house", "cat"])
    other = TextEncoder(clip=clip, tokenizer=tokenizer, templates=TEMPLATES, batch_size=batch_size)
    torch.testing.assert_close(
        other.encode(names).flip(0), encoder.encode(Vocabulary(reversed(names))), rtol=0, atol=1e-6
    )


def test_every_phrase_is_encoded_once(encoder):
    encoder.encode(Vocabulary([("building", "edifice"), ("edifice", "house"), ("building", "edifice")]))
    assert encoder.encoded_prompts == 3 * len(TEMPLATES)


def test_second_start_encodes_nothing(clip, tokenizer, tmp_path):
    def start(names, model=clip):
        encoder = TextEncoder(clip=model, tokenizer=tokenizer, templates=TEMPLATES, cache=TextCache(folder=tmp_path))
        return encoder.encode(Vocabulary(names)), encoder.encoded_prompts

    features, encoded = start(["cat", "dog", "cat"])
    assert encoded == 2 * len(TEMPLATES)
    again, encoded = start(["cat", "dog", "cat"], copy.deepcopy(clip))
    assert encoded == 0
    assert torch.equal(again, features)
    changed, encoded = start(["bird", "dog"])
    assert encoded == len(TEMPLATES)
    assert torch.equal(changed[1], features[1])


def test_truncated_file_is_encoded_again(clip, tokenizer, tmp_path, caplog):
    def start():
        encoder = TextEncoder(clip=clip, tokenizer=tokenizer, templates=TEMPLATES, cache=TextCache(folder=tmp_path))
        return encoder.encode(Vocabulary(["cat", "dog"])), encoder.encoded_prompts

    features, _ = start()
    path = next(tmp_path.rglob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:100])
    again, encoded = start()
    assert encoded == len(TEMPLATES)
    assert "damaged" in caplog.text
    torch.testing.assert_close(again, features, rtol=0, atol=1e-6)
    assert start()[1] == 0


def test_interrupted_start_keeps_what_is_done(clip, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(text_encoder, "_CLASSES_PER_CHUNK", 1)
    first = TextEncoder(clip=clip, tokenizer=tokenizer, templates=TEMPLATES, cache=TextCache(folder=tmp_path))
    encode_phrases = first._encode_phrases

    def interrupted(phrases, progress):
        if phrases == ["dog"]:
            raise KeyboardInterrupt
        return encode_phrases(phrases, progress)

    monkeypatch.setattr(first, "_encode_phrases", interrupted)
    with pytest.raises(KeyboardInterrupt):
        first.encode(Vocabulary(["cat", "dog"]))
    second = TextEncoder(clip=clip, tokenizer=tokenizer, templates=TEMPLATES, cache=TextCache(folder=tmp_path))
    second.encode(Vocabulary(["cat", "dog"]))
    assert second.encoded_prompts == len(TEMPLATES)


@pytest.mark.parametrize("long_work", [1, 1000])
def test_progress_bar_shows_for_long_work_only(encoder, monkeypatch, capsys, long_work):
    monkeypatch.setattr(text_encoder, "_LONG_WORK", long_work)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    encoder.encode(Vocabulary(["cat", "dog"]))
    assert ("Encoding text: 100%" in capsys.readouterr().err) == (long_work == 1)


def test_same_names_give_the_same_tensor_without_work(encoder, monkeypatch):
    features = encoder.encode(Vocabulary(["cat", "dog"]))
    monkeypatch.setattr(encoder, "_look_up", None)
    assert encoder.encode(Vocabulary(["cat", "dog"])) is features


def test_fingerprint_depends_on_what_changes_the_features(clip, tokenizer, write_config):
    def key(model=clip, templates=TEMPLATES, words=tokenizer, dtype=None):
        return TextEncoder(clip=model, tokenizer=words, templates=templates, dtype=dtype).fingerprint()

    changed = copy.deepcopy(clip)
    changed.ln_final.bias[0] += 1e-6
    image_changed = copy.deepcopy(clip)
    image_changed.visual.proj += 1
    slower_activation = build_clip(write_config())
    exact_activation = copy.deepcopy(slower_activation)
    for block in exact_activation.transformer.resblocks:
        block.mlp.gelu = nn.GELU()
    cased = build_tokenizer(write_config(tokenizer_kwargs={"clean": "whitespace"}))
    keys = [
        key(),
        key(changed),
        key(templates=TEMPLATES[::-1]),
        key(dtype=torch.bfloat16),
        key(copy.deepcopy(clip).double()),
        key(slower_activation),
        key(exact_activation),
        key(templates=("A photo of a {}", "B")[:1]),
        key(templates=("A photo of a {}", "B")[:1], words=cased),
    ]
    assert len(set(keys)) == len(keys)
    assert key(copy.deepcopy(clip)) == key(image_changed) == keys[0]


def test_new_weights_are_noticed(encoder, clip):
    before = encoder.encode(Vocabulary(["cat"]))
    assert encoder.fingerprint() == encoder.fingerprint()
    clip.load_state_dict({name: tensor + 0.1 for name, tensor in clip.state_dict().items()})
    assert not torch.allclose(encoder.encode(Vocabulary(["cat"])), before, atol=1e-3)


def test_training_the_text_encoder(encoder, clip):
    clip.token_embedding.requires_grad_(True)
    loss = encoder.encode(Vocabulary([("cat", "kitten"), "dog"]))[..., 0].sum()
    loss.backward()
    assert clip.token_embedding.weight.grad.abs().sum() > 0
    encoded = encoder.encoded_prompts
    encoder.encode(Vocabulary(["dog"]))
    assert encoder.encoded_prompts > encoded  # every step computes anew


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"fused": True}])
def test_a_text_encoder_that_trains_is_cached_in_evaluation_until_the_next_step(encoder, clip, options):
    clip.token_embedding.requires_grad_(True)
    optimizer = torch.optim.AdamW(clip.token_embedding.parameters(), lr=0.1, **options)
    with torch.no_grad():
        before = encoder.encode(Vocabulary(["cat"]))
        encoded = encoder.encoded_prompts
        assert torch.equal(encoder.encode(Vocabulary(["cat"])), before)
        assert encoder.encoded_prompts == encoded
    encoder.encode(Vocabulary(["cat"]))[..., 0].sum().backward()
    optimizer.step()
    with torch.no_grad():
        assert not torch.allclose(encoder.encode(Vocabulary(["cat"])), before, atol=1e-4)


def test_a_text_encoder_that_trains_leaves_no_files(clip, tokenizer, tmp_path):
    encoder = TextEncoder(clip=clip, tokenizer=tokenizer, templates=TEMPLATES, cache=TextCache(folder=tmp_path))
    with torch.no_grad():
        encoder.encode(Vocabulary(["cat"]))
    files = sorted(tmp_path.rglob("*"))
    assert files
    clip.token_embedding.requires_grad_(True)
    encoder.encode(Vocabulary(["cat"]))  # a training step
    with torch.no_grad():
        encoder.encode(Vocabulary(["dog"]))
    assert sorted(tmp_path.rglob("*")) == files


def test_the_first_synonym_can_stand_for_all(clip, tokenizer):
    first = TextEncoder(clip=clip, tokenizer=tokenizer, templates=TEMPLATES, first_synonym_only=True)
    plain = TextEncoder(clip=clip, tokenizer=tokenizer, templates=TEMPLATES)
    assert torch.equal(first.encode(Vocabulary([("cat", "kitten"), "dog"])), plain.encode(Vocabulary(["cat", "dog"])))
    assert not torch.allclose(
        first.encode(Vocabulary([("cat", "kitten")])), plain.encode(Vocabulary([("cat", "kitten")]))
    )


def test_frozen_features_can_be_used_in_training_after_inference(encoder):
    with torch.inference_mode():
        encoder.encode(Vocabulary(["cat"]))
    features = encoder.encode(Vocabulary(["cat"]))
    assert not features.requires_grad
    scale = torch.ones((), requires_grad=True)
    (features * scale).sum().backward()
    assert scale.grad is not None


def test_computing_type(encoder, clip, tokenizer):
    exact = encoder.encode(Vocabulary(["cat", "dog"]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        other = TextEncoder(clip=clip, tokenizer=tokenizer, templates=TEMPLATES).encode(Vocabulary(["cat", "dog"]))
    torch.testing.assert_close(other, exact, rtol=0, atol=1e-6)
    rounded = TextEncoder(clip=clip, tokenizer=tokenizer, templates=TEMPLATES, dtype=torch.bfloat16)
    rounded = rounded.encode(Vocabulary(["cat", "dog"]))
    assert rounded.dtype == torch.float32
    assert 1e-5 < (rounded - exact).abs().max() < 0.05


def test_clip_is_in_the_state_dict_once(clip, encoder):
    model = nn.Module()
    model.clip = clip
    model.text_encoder = encoder
    assert all(name.startswith("clip.") for name in model.state_dict())


def test_text_parameters(clip):
    names = {name for name, _ in text_parameters(clip)}
    others = {name for name, _ in clip.named_parameters()} - names
    assert all(name.startswith("visual.") or name == "logit_scale" for name in others)
    assert not any(name.startswith("visual.") for name in names)
    assert {"positional_embedding", "text_projection", "token_embedding.weight", "ln_final.bias"} <= names


def test_prompt_that_does_not_fit_is_an_error_that_names_it(write_config):
    name = write_config(context_length=8)
    encoder = TextEncoder(
        clip=build_clip(name).requires_grad_(False), tokenizer=build_tokenizer(name), templates=["a photo of {}."]
    )
    assert encoder.encode(Vocabulary(["big cat"])).shape == (1, 1, 8)  # 8 tokens: just fits
    with pytest.raises(ValueError, match=r"'a photo of very big cat\.' has more tokens than the 8"):
        encoder.encode(Vocabulary(["cat", "very big cat"]))


def test_there_must_be_classes(encoder):
    with pytest.raises(ValueError, match="no classes to encode"):
        encoder.encode(Vocabulary())


def test_the_cache_tells_a_class_from_its_synonyms(clip, tokenizer, tmp_path):
    def start(*classes):
        encoder = TextEncoder(clip=clip, tokenizer=tokenizer, templates=TEMPLATES, cache=TextCache(folder=tmp_path))
        return encoder.encode(Vocabulary(classes)), encoder.encoded_prompts

    both, _ = start(("cat", "kitten"))
    (cat, kitten), encoded = start("cat", "kitten")
    assert encoded == 2 * len(TEMPLATES)
    torch.testing.assert_close(both[0], F.normalize((cat + kitten) / 2, dim=-1), rtol=0, atol=1e-6)
    assert start(("cat", "kitten"))[1] == 0


@pytest.mark.parametrize("templates", [[], ["a photo"], ["{} and {}"]])
def test_templates_must_hold_one_name(clip, tokenizer, templates):
    with pytest.raises(ValueError, match=r"every prompt template needs one \{\}"):
        TextEncoder(clip=clip, tokenizer=tokenizer, templates=templates)


def test_model_without_pooling_is_refused(write_config):
    name = write_config(pool_type="none")
    with pytest.raises(ValueError, match="pool_type 'none'"):
        TextEncoder(clip=build_clip(name), tokenizer=build_tokenizer(name), templates=TEMPLATES)
