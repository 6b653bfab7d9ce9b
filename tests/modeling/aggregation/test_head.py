import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec

from catseg.modeling.aggregation import CATSegHead
from tests.tiny import tiny_config

SHAPES = {
    "res2": ShapeSpec(channels=4, stride=4),
    "res3": ShapeSpec(channels=6, stride=8),
    "res4": ShapeSpec(channels=8, stride=16),
}


def head(folder: Path, **overrides: object) -> CATSegHead:
    return CATSegHead(tiny_config(folder, **overrides), SHAPES, text_dim=16, num_templates=3)


def inputs(classes: int) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
    maps = {name: torch.randn(2, spec.channels, 64 // spec.stride, 64 // spec.stride) for name, spec in SHAPES.items()}
    return torch.randn(2, 4, 4, 16), maps, F.normalize(torch.randn(classes, 3, 16), dim=-1)


def test_result_does_not_depend_on_the_chunk_or_on_recording(tmp_path: Path) -> None:
    module = head(tmp_path).eval()
    image, maps, text = inputs(5)
    recorded = module(image, maps, text, class_maps_per_chunk=2)
    assert recorded.shape == (2, 5, 16, 16)
    with torch.no_grad():
        for chunk in (1, 3, 100):
            torch.testing.assert_close(
                module(image, maps, text, class_maps_per_chunk=chunk), recorded, rtol=1e-4, atol=1e-5
            )


def test_order_of_classes_is_the_order_of_logits(tmp_path: Path) -> None:
    module = head(tmp_path).eval()
    image, maps, text = inputs(4)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        logits = module(image, maps, text, class_maps_per_chunk=4)
        torch.testing.assert_close(
            module(image, maps, text[order], class_maps_per_chunk=4), logits[:, order], rtol=1e-4, atol=1e-5
        )


def test_checkpointing_changes_memory_not_gradients(tmp_path: Path) -> None:
    image, maps, text = inputs(2)
    plain, recomputed = head(tmp_path), head(tmp_path, MODEL__ACTIVATION_CHECKPOINTING=True)
    recomputed.load_state_dict(plain.state_dict())
    for module in (plain, recomputed):
        module(image, maps, text, class_maps_per_chunk=1).square().mean().backward()
    for one, other in zip(plain.parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_maps_of_other_strides_are_resized(tmp_path: Path) -> None:
    module = head(tmp_path).eval()
    image, maps, text = inputs(2)
    coarse = maps | {"res2": maps["res2"][..., :8, :8]}
    with torch.no_grad():
        resized = F.interpolate(coarse["res2"], size=(16, 16), mode="bilinear", align_corners=False)
        expected = module(image, coarse | {"res2": resized}, text, class_maps_per_chunk=2)
        torch.testing.assert_close(module(image, coarse, text, class_maps_per_chunk=2), expected)


@pytest.mark.parametrize("training", [True, False])
def test_every_layer_pools_by_the_same_rows_and_columns(tmp_path: Path, training: bool) -> None:
    options = {"MODEL__SEM_SEG_HEAD__NUM_LAYERS": 3, "MODEL__SEM_SEG_HEAD__POOLING_SIZES": [1, 2]}
    module = head(tmp_path, **options, MODEL__SEM_SEG_HEAD__POOLING_SIZES_TEST=[4, 1]).train(training)
    cells = []
    for layer in module.aggregator.layers:
        layer.class_.norm1.register_forward_pre_hook(lambda _, args: cells.append(args[0].shape[1]))
    module(*inputs(2), class_maps_per_chunk=64)
    assert cells == [4 * 2 if training else 1 * 4] * 3


def test_prior_sets_the_last_bias(tmp_path: Path) -> None:
    bias = head(tmp_path, MODEL__SEM_SEG_HEAD__PRIOR_PROB=0.1).aggregator.decoder.head.bias
    assert bias.item() == pytest.approx(math.log(0.1 / 0.9))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"MODEL__SEM_SEG_HEAD__POOLING_SIZES": [2]}, r"POOLING_SIZES are rows and columns .*, got \[2\]"),
        ({"MODEL__SEM_SEG_HEAD__POOLING_SIZES": [1, 2, 3]}, r"POOLING_SIZES are rows .*, got \[1, 2, 3\]"),
        ({"MODEL__SEM_SEG_HEAD__IN_FEATURES": ["res2", "res3", "res5"]}, r"IN_FEATURES asks for \['res5'\]"),
        (
            {"MODEL__SEM_SEG_HEAD__IN_FEATURES": ["res4", "res3", "res2"]},
            r"finest first, got \['res4', 'res3', 'res2'\]",
        ),
        ({"MODEL__SEM_SEG_HEAD__IN_FEATURES": ["res2", "res2", "res4"]}, r"IN_FEATURES .* each once"),
        ({"MODEL__SEM_SEG_HEAD__WINDOW_SIZES": -4}, r"WINDOW_SIZES is -4, expected a number of 1 to"),
        ({"MODEL__SEM_SEG_HEAD__POOLING_SIZES_TEST": [1, 0]}, r"POOLING_SIZES_TEST are rows .*, got \[1, 0\]"),
        ({"MODEL__SEM_SEG_HEAD__NUM_HEADS": 3}, r"HIDDEN_DIMS must be a multiple of NUM_HEADS, got \d+ and 3"),
        ({"MODEL__SEM_SEG_HEAD__CLASS_TOKENS": -1}, r"CLASS_TOKENS .* must be 0 \(all\) or positive, got -1"),
        ({"MODEL__SEM_SEG_HEAD__PRIOR_PROB": 1.0}, r"PRIOR_PROB must be 0 \(none\) or between 0 and 1, got 1\.0"),
        ({"TEST__MAX_CLASSES": -1}, r"TEST\.MAX_CLASSES must be 0 \(all\) or positive, got 0, -1"),
    ],
)
def test_unusable_options_are_named(tmp_path: Path, overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head(tmp_path, **overrides)


def test_a_limit_of_inference_aggregates_the_likeliest_classes_of_each_crop_alone(tmp_path: Path) -> None:
    plain, limited = head(tmp_path), head(tmp_path, TEST__MAX_CLASSES=3)
    limited.load_state_dict(plain.state_dict())
    image, maps, text = inputs(7)
    cosines = torch.einsum("bhwc,tpc->bthwp", F.normalize(image, dim=-1), text).amax(dim=(2, 3, 4))
    assert torch.equal(
        limited(image, maps, text, class_maps_per_chunk=2), plain(image, maps, text, class_maps_per_chunk=2)
    )
    with torch.no_grad():
        logits = limited.eval()(image, maps, text, class_maps_per_chunk=2)
        for i, best in enumerate(cosines.topk(3).indices.sort().values):
            crop = image[i : i + 1], {name: level[i : i + 1] for name, level in maps.items()}
            expected = plain.eval()(*crop, text[best], class_maps_per_chunk=2)[0]
            torch.testing.assert_close(logits[i, best], expected, rtol=1e-4, atol=1e-5)
            assert (logits[i].sigmoid().sum(dim=(1, 2)) > 0).nonzero()[:, 0].tolist() == best.tolist()
        few = inputs(3)
        assert torch.equal(limited(*few, class_maps_per_chunk=2), plain(*few, class_maps_per_chunk=2))
