import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.utils import counters

from catseg.modeling.layers.chunking import ChunkSizes
from catseg.modeling.meta_arch import CATSeg
from catseg.vocabulary import load_vocabulary
from tests.tiny import tiny_config, tiny_model

CLASSES = ["wall", "building, edifice", "sky", "red kite", "sea"]


@pytest.fixture
def model(tmp_path: Path) -> CATSeg:
    torch.manual_seed(0)
    return tiny_model(tmp_path)


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)


def training_batch(size: int = 64) -> list[dict[str, torch.Tensor]]:
    return [{"image": image(size, size, i), "sem_seg": torch.randint(2, (size, size))} for i in range(2)]


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (7, 200), (130, 33)])
def test_any_size_gives_a_probability_per_class_and_pixel(model: CATSeg, size: tuple[int, int]) -> None:
    (result,) = model([{"image": image(*size)}])
    assert result["sem_seg"].shape == (3, *size)
    assert result["sem_seg"].min() >= 0
    assert result["sem_seg"].max() <= 1


def test_output_size_follows_the_record(model: CATSeg) -> None:
    (result,) = model([{"image": image(50, 60), "height": 20, "width": 33}])
    assert result["sem_seg"].shape == (3, 20, 33)


@pytest.mark.parametrize("sliding", [True, False])
def test_labels_are_the_argmax_of_the_probabilities(tmp_path: Path, sliding: bool) -> None:
    model = tiny_model(tmp_path, TEST__SLIDING_WINDOW=sliding, TEST__CLASS_MAPS_PER_CHUNK=2)
    model.set_vocabulary(CLASSES)
    item = {"image": image(50, 60), "height": 40, "width": 30}
    (labels,), (full,) = model.predict_labels([item]), model([item])
    best, index = full["sem_seg"].max(dim=0)
    assert labels["labels"].dtype == torch.int64
    assert torch.equal(labels["labels"], index)
    assert torch.equal(labels["scores"], best)


def test_chunks_do_not_change_the_result(model: CATSeg) -> None:
    model.set_vocabulary(CLASSES)
    item = {"image": image(50, 60)}
    (expected,) = model([item])
    for crops, classes in ((1, 1), (2, 3), (100, 100)):
        model.chunk_sizes = ChunkSizes(crops, classes)
        torch.testing.assert_close(model([item])[0]["sem_seg"], expected["sem_seg"], rtol=1e-4, atol=1e-6)


def test_several_images_give_what_each_alone_gives(model: CATSeg) -> None:
    items = [{"image": image(50, 60, 1)}, {"image": image(64, 20, 2)}]
    together = model(items)
    for item, result in zip(items, together, strict=True):
        torch.testing.assert_close(result["sem_seg"], model([item])[0]["sem_seg"], rtol=1e-4, atol=1e-6)
    assert model([]) == model.predict_labels([]) == []


@pytest.mark.parametrize(("sliding", "sizes"), [(True, [7, 7, 1]), (False, [1, 2])])
def test_windows_of_several_images_share_a_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sliding: bool, sizes: list[int]
) -> None:
    model = tiny_model(tmp_path, TEST__SLIDING_WINDOW=sliding, TEST__CROPS_PER_CHUNK=7)
    items = [{"image": image(50, 60, 1)}, {"image": image(64, 20, 2)}, {"image": image(64, 20, 3)}]
    expected = [model.predict_labels([item])[0]["scores"] for item in items]
    together = []
    logits = model.logits

    def record(crops: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        together.append(len(crops))
        return logits(crops, text)

    monkeypatch.setattr(model, "logits", record)
    found = [result["scores"] for result in model.predict_labels(items)]
    assert together == sizes
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_vocabulary_can_change_between_images(model: CATSeg) -> None:
    item = {"image": image(50, 60)}
    (before,) = model([item])
    model.set_vocabulary(["sky"])
    assert model.classes == ("sky",)
    assert model([item])[0]["sem_seg"].shape[0] == 1
    model.set_vocabulary(["wall", "building, edifice", "sky"])
    assert torch.equal(model([item])[0]["sem_seg"], before["sem_seg"])


def test_only_new_names_are_encoded(model: CATSeg) -> None:
    model([{"image": image(8, 8)}])
    encoded = model.text_encoder.encoded_prompts
    model.set_vocabulary(["sky", "wall", "moon"])
    model([{"image": image(8, 8)}])
    assert model.text_encoder.encoded_prompts == encoded + 1


def test_text_features_follow_loaded_weights(model: CATSeg) -> None:
    before = model.text_features(model.classes)
    state = {name: tensor + 0.1 * torch.randn_like(tensor) for name, tensor in model.state_dict().items()}
    model.load_state_dict(state)
    assert not torch.allclose(model.text_features(model.classes), before)


def test_a_model_without_vocabulary_says_so(tmp_path: Path) -> None:
    model = CATSeg(tiny_config(tmp_path))
    with pytest.raises(RuntimeError, match=r"call set_train_vocabulary\(classes\) first"):
        model(training_batch())
    with pytest.raises(RuntimeError, match=r"call set_vocabulary\(classes\) first"):
        model.eval()([{"image": image(8, 8)}])


@pytest.mark.parametrize("setter", ["set_vocabulary", "set_train_vocabulary"])
def test_the_vocabulary_is_checked(model: CATSeg, setter: str) -> None:
    for classes, message in (
        ([], "no class names"),
        (["sky, sea"], "one class with 2 synonyms"),
        (["a", "A"], "repeats"),
    ):
        with pytest.raises(ValueError, match=message):
            getattr(model, setter)(classes)


def test_synonyms_may_be_a_tuple(model: CATSeg) -> None:
    item = {"image": image(50, 60)}
    (expected,) = model([item])
    model.set_vocabulary(["wall", ("building", "edifice"), "sky"])
    assert model.classes == ("wall", "building, edifice", "sky")
    assert torch.equal(model([item])[0]["sem_seg"], expected["sem_seg"])


def test_training_gives_a_loss_with_gradients_for_what_trains_and_nothing_else(tmp_path: Path) -> None:
    model = tiny_model(tmp_path, SOLVER__BACKBONE_MULTIPLIER=0.1).train()
    losses = model(training_batch())
    assert list(losses) == ["loss_sem_seg"]
    losses["loss_sem_seg"].backward()
    for name, parameter in model.named_parameters():
        trained = not name.startswith("clip.") and "norm0" not in name
        trained |= name.startswith("clip.visual.") and ("attn" in name or "position" in name)
        assert parameter.requires_grad == trained, name
        assert (parameter.grad is not None) == trained, name
        assert not trained or parameter.grad.isfinite().all(), name


def test_a_frozen_backbone_has_no_trained_parameter(model: CATSeg) -> None:
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())


@pytest.mark.parametrize("freeze_at", [0, 3])
def test_batch_norms_of_what_is_frozen_keep_their_statistics(tmp_path: Path, freeze_at: int) -> None:
    """Of a whole backbone that does not train, and of the first stages of one that does."""
    model = tiny_model(
        tmp_path,
        MODEL__BACKBONE__NAME="build_resnet_backbone",
        MODEL__BACKBONE__FREEZE_AT=freeze_at,
        MODEL__RESNETS__DEPTH=18,
        MODEL__RESNETS__RES2_OUT_CHANNELS=64,
        MODEL__RESNETS__NORM="BN",
        MODEL__RESNETS__OUT_FEATURES=["res2", "res3", "res4"],
        SOLVER__BACKBONE_MULTIPLIER=float(freeze_at > 0),
    ).train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if "running_" in name}
    assert before
    model(training_batch())
    trained = "backbone.res4." if freeze_at else "none"
    for name, buffer in before.items():
        assert torch.equal(model.get_buffer(name), buffer) != name.startswith(trained), name


def test_a_multiplier_of_0_freezes_clip(tmp_path: Path) -> None:
    for options in ({}, VERSION_2):
        model = tiny_model(tmp_path, **options, SOLVER__CLIP_MULTIPLIER=0.0).train()
        assert not any(parameter.requires_grad for parameter in model.clip.parameters())
        for _ in range(2):  # the text features of the second step are those of the first
            model(training_batch())["loss_sem_seg"].backward()
        assert model.text_encoder.encoded_prompts == 2


def test_loss_weight_scales_the_loss(tmp_path: Path) -> None:
    losses = []
    for weight in (1.0, 3.0):
        torch.manual_seed(0)
        model = tiny_model(tmp_path, MODEL__SEM_SEG_HEAD__LOSS_WEIGHT=weight, MODEL__SWIN__DROP_PATH_RATE=0.0).train()
        torch.manual_seed(1)
        losses.append(model(training_batch())["loss_sem_seg"])
    torch.testing.assert_close(losses[1], 3 * losses[0])


def test_labels_outside_the_training_vocabulary_are_named(model: CATSeg) -> None:
    batch = [{"image": image(64, 64), "sem_seg": torch.full((64, 64), 9)}]
    with pytest.raises(ValueError, match=r"labels must be 0..1 or 255"):
        model.train()(batch)


@pytest.mark.parametrize("mode", ["attention", "query_value", "full", "prompt", "none"])
def test_every_finetuning_mode_trains(tmp_path: Path, mode: str) -> None:
    prompts = {"MODEL__CLIP__PROMPT_DEPTH": 2, "MODEL__CLIP__PROMPT_LENGTH": 3} if mode == "prompt" else {}
    model = tiny_model(tmp_path, MODEL__CLIP__FINETUNE=mode, **prompts).train()
    model(training_batch())["loss_sem_seg"].backward()
    trained = [name for name, parameter in model.clip.named_parameters() if parameter.grad is not None]
    assert bool(trained) == (mode != "none")


def test_resnet_serves_as_backbone(tmp_path: Path) -> None:
    overrides = {
        "MODEL__BACKBONE__NAME": "build_resnet_backbone",
        "MODEL__RESNETS__DEPTH": 50,
        "MODEL__RESNETS__OUT_FEATURES": ["res2", "res3", "res4"],
    }
    model = tiny_model(tmp_path, **overrides)
    (result,) = model([{"image": image(20, 30)}])
    assert result["sem_seg"].shape == (3, 20, 30)
    assert model.sem_seg_head.aggregator.guidance.appearance.in_channels == 1024


VERSION_2 = {
    "MODEL__BACKBONE__NAME": "",
    "MODEL__CLIP__FINETUNE": "query_value",
    "MODEL__CLIP__CLASS_TOKEN_RESIDUAL": True,
    "MODEL__CLIP__FIRST_SYNONYM_ONLY": True,
}


def test_version_2_trains_queries_values_upsamplings_padding_and_head(tmp_path: Path) -> None:
    model = tiny_model(tmp_path, **VERSION_2, MODEL__SEM_SEG_HEAD__CLASS_TOKENS=8).train()
    model(training_batch())["loss_sem_seg"].backward()
    for name, parameter in model.named_parameters():
        trained = not name.startswith("clip.") or name.endswith(("q_proj_weight", "v_proj_weight"))
        assert parameter.requires_grad == trained, name
        assert (parameter.grad is not None) == trained, name
    text = model.clip.transformer.resblocks[0].attn
    assert text.v_proj_weight.grad.abs().sum() > 0
    assert model.sem_seg_head.aggregator.layers[0].class_.padding_tokens.grad.abs().sum() > 0


def test_version_2_with_more_classes_than_tokens_keeps_the_best_of_each_crop(tmp_path: Path) -> None:
    """Every crop sees only its best classes, so they decide alone; the others are certain not to be there."""
    torch.manual_seed(0)
    model = tiny_model(tmp_path, **VERSION_2, MODEL__SEM_SEG_HEAD__CLASS_TOKENS=3)
    crops = torch.stack([image(64, 64, i) for i in range(2)]).float()
    with torch.no_grad():
        text = model.text_features(load_vocabulary(CLASSES))
        logits = model.logits(crops, text)
        assert logits.shape == (2, 5, 16, 16)
        for i in range(2):
            best = (logits[i] != -100).flatten(1).all(dim=1)
            assert best.sum() == 3
            assert (logits[i][~best] == -100).all()
            alone = model.logits(crops[i : i + 1], text[best])
            torch.testing.assert_close(logits[i][best], alone[0], rtol=1e-4, atol=1e-5)
    logits = model.train().logits(crops, text)
    logits.sum().backward()
    assert model.sem_seg_head.aggregator.decoder.head.weight.grad.abs().sum() > 0


def test_version_2_in_chunks_gives_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = tiny_model(tmp_path, **VERSION_2, MODEL__SEM_SEG_HEAD__CLASS_TOKENS=4)
    item = {"image": image(50, 60)}
    for names in (CLASSES, CLASSES[:2]):
        model.set_vocabulary(names)
        model.chunk_sizes = ChunkSizes(4, 32)
        (expected,) = model([item])
        for crops, classes in ((1, 1), (2, 3)):
            model.chunk_sizes = ChunkSizes(crops, classes)
            torch.testing.assert_close(model([item])[0]["sem_seg"], expected["sem_seg"], rtol=1e-4, atol=1e-6)


def test_checkpointing_keeps_the_gradients_of_both_encoders(tmp_path: Path) -> None:
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        model = tiny_model(tmp_path, **VERSION_2, MODEL__ACTIVATION_CHECKPOINTING=checkpointed).train()
        torch.manual_seed(1)
        model(training_batch())["loss_sem_seg"].backward()
        gradients.append([encoder.resblocks[0].attn.q_proj_weight.grad for encoder in _transformers(model)])
    for plain, recomputed in zip(*gradients, strict=True):
        assert plain.abs().sum() > 0
        torch.testing.assert_close(recomputed, plain)


def _transformers(model: CATSeg) -> tuple[torch.nn.Module, torch.nn.Module]:
    return model.clip.visual.transformer, model.clip.transformer


def test_bfloat16_autocast_stays_close(model: CATSeg) -> None:
    item = {"image": image(50, 60)}
    (full,) = model([item])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (half,) = model([item])
    assert half["sem_seg"].dtype == torch.float32
    assert F.l1_loss(half["sem_seg"], full["sem_seg"]) < 0.02


def test_each_clip_parameter_is_stored_once(model: CATSeg) -> None:
    storages = [tensor.data_ptr() for tensor in model.state_dict().values()]
    assert len(storages) == len(set(storages))
    assert not any("pixel" in name for name in model.state_dict())


@pytest.mark.parametrize(("key", "value"), [("TEST__CROPS_PER_CHUNK", -1), ("TEST__CLASS_MAPS_PER_CHUNK", -1)])
def test_empty_chunks_are_named(tmp_path: Path, key: str, value: int) -> None:
    with pytest.raises(ValueError, match=r"TEST.CROPS_PER_CHUNK and TEST.CLASS_MAPS_PER_CHUNK must be positive"):
        tiny_model(tmp_path, **{key: value})


def test_low_precision_by_config(tmp_path: Path) -> None:
    full, half = (tiny_model(tmp_path, TEST__DTYPE=dtype) for dtype in ("float32", "bfloat16"))
    half.load_state_dict(full.state_dict())
    for network in (full, half):
        network.set_vocabulary(CLASSES)
    item = {"image": image(50, 60)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (expected,) = full([item])
    (found,) = half([item])
    assert torch.equal(found["sem_seg"], expected["sem_seg"])
    assert not torch.equal(found["sem_seg"], full([item])[0]["sem_seg"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs a C++ compiler")
def test_compiled_equals_plain(tmp_path: Path) -> None:
    plain, compiled = (tiny_model(tmp_path, MODEL__COMPILE=wanted) for wanted in (False, True))
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    compiled.load_state_dict(plain.state_dict())
    item = {"image": image(50, 60)}
    graphs = counters["stats"]["unique_graphs"]
    assert torch.allclose(compiled([item])[0]["sem_seg"], plain([item])[0]["sem_seg"], atol=1e-5)
    assert counters["stats"]["unique_graphs"] > graphs


def test_large_images_are_merged_a_few_classes_at_a_time(model: CATSeg, monkeypatch: pytest.MonkeyPatch) -> None:
    model.set_vocabulary(CLASSES)
    item = {"image": image(50, 60)}
    (expected,) = model([item])
    monkeypatch.setattr("catseg.modeling.layers.chunking.MERGED_PIXELS", 2 * 96 * 96)
    merged = []
    merge = model.view.merge

    def record(logits: torch.Tensor, *sizes: tuple[int, int]) -> torch.Tensor:
        merged.append(logits.shape[1])
        return merge(logits, *sizes)

    monkeypatch.setattr(type(model.view), "merge", lambda _, *arguments: record(*arguments))
    assert torch.equal(model([item])[0]["sem_seg"], expected["sem_seg"])
    assert merged == [2, 2, 1]


@pytest.mark.parametrize(("cells", "classes"), [(24, 4), (8, 36), (96, 1)])
def test_small_maps_are_worked_on_in_larger_chunks(tmp_path: Path, cells: int, classes: int) -> None:
    options = {"MODEL__SEM_SEG_HEAD__FEATURE_RESOLUTION": [cells, cells], "TEST__CLASS_MAPS_PER_CHUNK": 0}
    assert tiny_model(tmp_path, **options).chunk_sizes.class_maps == classes


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_no_numbers_are_an_error_that_names_the_image(model: CATSeg, value: float) -> None:
    bias = model.sem_seg_head.aggregator.decoder.head.bias
    bias.data.fill_(value)
    item = {"image": image(50, 60), "file_name": "a.jpg"}
    message = r"^a\.jpg: the scores are not numbers: the weights hold .* sem_seg_head\.aggregator\.decoder\.head\.bias"
    for call in (model, model.predict_labels):
        with pytest.raises(FloatingPointError, match=message):
            call([item])
    with pytest.raises(FloatingPointError, match=r"^the scores are not numbers"):
        model([{"image": image(50, 60)}])


def test_an_overflow_of_the_computing_type_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(tmp_path, TEST__DTYPE="float16")
    monkeypatch.setattr(model, "logits", lambda crops, _: torch.full((len(crops), 3, 16, 16), torch.inf))
    with pytest.raises(FloatingPointError, match=r"overflows in float16: set TEST\.DTYPE float32"):
        model.predict_labels([{"image": image(50, 60)}])
