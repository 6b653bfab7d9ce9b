"""CLIP alone from images and names to label maps, against a plain transcription of what the published code does."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model

from catseg.errors import InputError, NotFiniteError
from catseg.modeling.layers.chunking import ChunkSizes
from catseg.modeling.training_free.segmenter import TrainingFreeSegmenter
from tests.tiny import tiny_config, tiny_model

CLASSES = ["wall", "background, nothing", "sky", "red kite", "sea"]
SECTION = "MODEL__TRAINING_FREE__"
WINDOWS = {"TEST__SLIDING_SIZE": [0, 0], "TEST__SLIDING_OVERLAP": 0.5, "TEST__SLIDING_WHOLE_IMAGE": False}
PROXY = {f"{SECTION}METHOD": "proxyclip", f"{SECTION}PROXY": "test_vit", f"{SECTION}PROXY_WEIGHTS": ""}


def segmenter(folder: Path, **overrides: Any) -> TrainingFreeSegmenter:
    torch.manual_seed(0)
    cfg = tiny_config(folder, MODEL__META_ARCHITECTURE="TrainingFreeSegmenter", **WINDOWS | overrides)
    model = build_model(cfg)
    model.set_vocabulary(CLASSES)
    return model.eval()


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)


def plain_cosines(model: TrainingFreeSegmenter, crop: torch.Tensor, size: int) -> torch.Tensor:
    """Cosines of a window `(3, k, k)`, normalised for CLIP, at its own size."""
    features = model.image_features(crop[None])[0][0]
    text = model.text_encoder.encode(model.classes)
    text = torch.stack([row / row.norm() for row in text.mean(dim=1)])
    maps = torch.stack([(features * row).sum(dim=-1) for row in text])
    assert features.norm(dim=-1).sub(1).abs().max() < 1e-5
    return F.interpolate(maps[None], size=(size, size), mode="bilinear", align_corners=False)[0]


def published_inference(
    model: TrainingFreeSegmenter, picture: torch.Tensor, *, crop: int, stride: int, scale: float
) -> torch.Tensor:
    """Probabilities `(T, H, W)`: window by window as the code of SCLIP, NACLIP, ClearCLIP and ProxyCLIP goes."""
    _, height, width = picture.shape
    total, count = torch.zeros(len(model.classes), height, width), torch.zeros(height, width)
    for row in range(max(height - crop + stride - 1, 0) // stride + 1):
        for column in range(max(width - crop + stride - 1, 0) // stride + 1):
            bottom, right = min(row * stride + crop, height), min(column * stride + crop, width)
            place = (slice(bottom - crop, bottom), slice(right - crop, right))
            total[:, place[0], place[1]] += plain_cosines(model, picture[:, place[0], place[1]].float(), crop)
            count[place] += 1
    logits = scale * total / count
    return logits.exp() / logits.exp().sum(dim=0)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {f"{SECTION}LOGIT_SCALE": 65.0, f"{SECTION}METHOD": "sclip"},
        {"MODEL__SEM_SEG_HEAD__FEATURE_RESOLUTION": [3, 5]},
        {"TEST__CLASS_MAPS_PER_CHUNK": 2, "TEST__CROPS_PER_CHUNK": 3},
        PROXY,
    ],
    ids=["default", "scale", "odd grid", "chunks", "proxy"],
)
def test_windows_and_softmax_are_the_published_ones(tmp_path: Path, overrides: dict[str, Any]) -> None:
    model = segmenter(tmp_path, **overrides)
    picture = image(100, 170)
    expected = published_inference(model, picture, crop=64, stride=32, scale=model.logit_scale)
    (full,), (labels,) = model([{"image": picture}]), model.predict_labels([{"image": picture}])
    torch.testing.assert_close(full["sem_seg"], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(labels["scores"], expected.max(dim=0).values, rtol=1e-4, atol=1e-5)
    assert (labels["labels"] == expected.argmax(dim=0)).float().mean() > 0.999
    (found,) = model.image_logits([{"image": picture}])
    torch.testing.assert_close(found.class_probabilities(3), expected[3], rtol=1e-4, atol=1e-5)


def test_cosines_are_resized_before_the_softmax(tmp_path: Path) -> None:
    model = segmenter(tmp_path)
    picture = image(64, 64)
    maps = plain_cosines(model, picture.float(), 64)
    expected = (40 * F.interpolate(maps[None], size=(30, 50), mode="bilinear", align_corners=False)[0]).softmax(dim=0)
    (found,) = model([{"image": picture, "height": 30, "width": 50}])
    torch.testing.assert_close(found["sem_seg"], expected, rtol=1e-4, atol=1e-5)


def test_what_is_improbable_is_background(tmp_path: Path) -> None:
    picture = image(100, 170)
    plain = segmenter(tmp_path)
    (before,) = plain.predict_labels([{"image": picture}])
    threshold = float(before["scores"].median())
    model = segmenter(tmp_path, **{f"{SECTION}BACKGROUND_THRESHOLD": threshold})
    (after,) = model.predict_labels([{"image": picture}])
    assert torch.equal(after["scores"], before["scores"])
    expected = torch.where(before["scores"] < threshold, CLASSES.index("background, nothing"), before["labels"])
    assert torch.equal(after["labels"], expected)
    assert not torch.equal(after["labels"], before["labels"])
    for names in (["wall", "sky"], CLASSES):  # without the class, and with another name for it
        other = segmenter(tmp_path, **{f"{SECTION}BACKGROUND_THRESHOLD": 0.99, f"{SECTION}BACKGROUND": "nothing"})
        plain.set_vocabulary(names)
        other.set_vocabulary(names)
        (one,), (two,) = plain.predict_labels([{"image": picture}]), other.predict_labels([{"image": picture}])
        assert torch.equal(one["labels"], two["labels"]) is (names != CLASSES)


def test_context_counts_in_the_softmax_and_is_no_part_of_the_result(tmp_path: Path) -> None:
    model = segmenter(tmp_path, **{f"{SECTION}BACKGROUND_THRESHOLD": 0.99, f"{SECTION}BACKGROUND": "sea"})
    (found,) = model.image_logits([{"image": image(100, 70)}])
    full, first = found.probabilities(), found.of_first(2)
    torch.testing.assert_close(first.probabilities(), full[:2])
    torch.testing.assert_close(first.class_probabilities(1), full[1])
    labels, scores = first.labels()
    torch.testing.assert_close(scores, full[:2].max(dim=0).values)
    assert torch.equal(labels, full[:2].argmax(dim=0))  # the background is not among them
    assert torch.allclose(full.sum(dim=0), torch.ones(100, 70), atol=1e-5)


def test_one_image_with_many_vocabularies(tmp_path: Path) -> None:
    model = segmenter(tmp_path)
    item = {"image": image(80, 100), "height": 20, "width": 30}
    features = model.encode_image(item)
    for names in (CLASSES, ["grass", "lake"]):
        model.set_vocabulary(names)
        torch.testing.assert_close(model.classify(features).probabilities(), model([item])[0]["sem_seg"])


@pytest.mark.parametrize("options", [{"MODEL__CLIP__TEMPLATES": "imagenet_select"}, {}], ids=["templates", "one"])
def test_it_is_the_raw_cost_volume_where_it_must_be(tmp_path: Path, options: dict[str, Any]) -> None:
    """The value path with residual and MLP, on the whole image: CAT-Seg's dense features and cost, without its head."""
    torch.manual_seed(0)
    catseg = tiny_model(tmp_path, **options)
    whole = {f"{SECTION}METHOD": "maskclip", f"{SECTION}RESIDUAL": True, f"{SECTION}MLP": True}
    model = segmenter(tmp_path, TEST__SLIDING_WINDOW=False, **whole, **options)
    model.clip.load_state_dict(catseg.clip.state_dict())
    picture = image(50, 70)
    dense = F.normalize(catseg.dense_features(picture[None].float())[:, 1:], dim=-1).unflatten(1, (4, 4))
    model.set_vocabulary(catseg.classes)
    text = catseg.text_features(catseg.classes)
    cost = torch.einsum("bhwc,tpc->btphw", dense, text)  # as catseg.modeling.aggregation.cost_volume has it
    mean = cost.mean(dim=2) / text.mean(dim=1).norm(dim=-1)[:, None, None]
    torch.testing.assert_close(model.logits(picture[None].float(), text), mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("enabled", [False, True])
def test_test_time_augmentation_averages_cosines(tmp_path: Path, enabled: bool) -> None:
    options = {"TEST__AUG__ENABLED": enabled, "TEST__AUG__FLIP": True, "TEST__SLIDING_WINDOW": False}
    model = segmenter(tmp_path, **options)
    picture = image(64, 64)
    (found,) = model([{"image": picture}])
    one = plain_cosines(model, picture.float(), 64)
    other = plain_cosines(model, picture.flip(-1).float(), 64).flip(-1)
    expected = (40 * ((one + other) / 2 if enabled else one)).softmax(dim=0)
    torch.testing.assert_close(found["sem_seg"], expected, rtol=1e-4, atol=1e-5)


def test_nothing_trains(tmp_path: Path) -> None:
    for options in ({}, PROXY):
        assert not any(parameter.requires_grad for parameter in segmenter(tmp_path, **options).parameters())


def test_chunks_and_batches_do_not_change_the_result(tmp_path: Path) -> None:
    model = segmenter(tmp_path, **PROXY)
    items = [{"image": image(80, 70, 1)}, {"image": image(64, 90, 2)}]
    together = model(items)
    model.chunk_sizes = ChunkSizes(1, 1)
    for item, found in zip(items, together, strict=True):
        torch.testing.assert_close(model([item])[0]["sem_seg"], found["sem_seg"], rtol=1e-4, atol=1e-6)


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    model = segmenter(tmp_path)
    model.clip.visual.proj.data.fill_(torch.nan)
    with pytest.raises(NotFiniteError, match=r"a\.jpg: the scores are not numbers"):
        model.predict_labels([{"image": image(64, 64), "file_name": "a.jpg"}])


def test_half_precision_is_close(tmp_path: Path) -> None:
    picture = image(64, 64)
    (full,) = segmenter(tmp_path)([{"image": picture}])
    (half,) = segmenter(tmp_path, TEST__DTYPE="bfloat16")([{"image": picture}])
    assert (half["sem_seg"] - full["sem_seg"]).abs().max() < 0.1


@pytest.mark.parametrize(
    ("name", "cells"),
    [("test_vit", (2, 2)), ("vit_tiny_patch16_dinov3_qkvb", (2, 2)), ("vit_small_patch14_dinov2", (2, 2))],
)
def test_a_proxy_sees_crops_as_large_as_clip_does(tmp_path: Path, name: str, cells: tuple[int, int]) -> None:
    model = segmenter(tmp_path, **PROXY | {f"{SECTION}PROXY": name})
    assert model.proxy(image(64, 64)[None].float()).shape[2:] == cells
    assert model.logits(image(64, 64)[None].float(), model.text_features(model.classes)).shape == (1, 5, *cells)


def test_a_proxy_can_see_them_larger(tmp_path: Path) -> None:
    model = segmenter(tmp_path, **PROXY | {f"{SECTION}PROXY_SIZE": [64, 90]})
    assert model.proxy(image(64, 64)[None].float()).shape[2:] == (4, 6)


def test_weights_of_a_proxy_come_from_a_file(tmp_path: Path) -> None:
    other = segmenter(tmp_path, **PROXY)
    torch.save(other.proxy.network.state_dict(), tmp_path / "proxy.pth")
    torch.manual_seed(1)
    cfg = tiny_config(
        tmp_path,
        MODEL__META_ARCHITECTURE="TrainingFreeSegmenter",
        MODEL__CLIP__WEIGHTS="",
        **PROXY | {f"{SECTION}PROXY_WEIGHTS": str(tmp_path / "proxy.pth")},
    )
    model = build_model(cfg)
    crops = image(64, 64)[None].float()
    torch.testing.assert_close(model.proxy.eval()(crops), other.proxy(crops))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (PROXY | {f"{SECTION}PROXY": "test_vitt"}, "PROXY must be timm's name of a model, got 'test_vitt'; did you"),
        (PROXY | {f"{SECTION}PROXY_WEIGHTS": "none.pth"}, "PROXY_WEIGHTS names none.pth, which is not a file"),
        ({f"{SECTION}METHOD": "proxyclip"}, "METHOD is 'proxyclip' and MODEL.TRAINING_FREE.PROXY ''"),
        ({f"{SECTION}PROXY": "test_vit"}, "METHOD is 'naclip' and MODEL.TRAINING_FREE.PROXY 'test_vit'"),
        ({"MODEL__CLIP__CLASS_TOKEN_RESIDUAL": True}, "CLASS_TOKEN_RESIDUAL False with MODEL.META_ARCHITECTURE"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, FileNotFoundError), match=message):
        segmenter(tmp_path, **overrides)
