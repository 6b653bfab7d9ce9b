import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from catseg.modeling.aggregation.cost_volume import (
    FOURIER_TEMPLATES,
    CostEmbedding,
    best_classes,
    cosine_cost_volume,
)


def test_cost_is_the_cosine_of_pixel_and_prompt() -> None:
    image = F.normalize(torch.randn(2, 3, 4, 8), dim=-1)
    text = F.normalize(torch.randn(2, 5, 6, 8), dim=-1)
    cost = cosine_cost_volume(image, text)
    assert cost.shape == (2, 5, 3, 4, 6)
    torch.testing.assert_close(cost[1, 4, 2, 3, 5], image[1, 2, 3] @ text[1, 4, 5])
    torch.testing.assert_close(cost, torch.einsum("bhwc,btpc->bthwp", image, text))
    torch.testing.assert_close(cosine_cost_volume(image, text[:1])[0], cost[0])


@given(
    classes=st.integers(1, 5),
    chunk=st.integers(1, 6),
    templates=st.sampled_from([3, FOURIER_TEMPLATES]),
    texts=st.sampled_from([1, 2]),
    kernel=st.sampled_from([3, 7]),
)
def test_embedding_is_a_convolution_per_class_in_chunks_of_any_size(
    classes: int, chunk: int, templates: int, texts: int, kernel: int
) -> None:
    torch.manual_seed(0)
    embedding = CostEmbedding(num_templates=templates, hidden_dim=4, kernel_size=kernel)
    image, text = 5 * torch.randn(2, 6, 5, 8), F.normalize(torch.randn(texts, classes, templates, 8), dim=-1)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("catseg.modeling.aggregation.cost_volume.FOURIER_CLASSES", 2)
        out = embedding(image, text, classes_per_chunk=chunk)
        cost = cosine_cost_volume(F.normalize(image, dim=-1), text)
        for k in range(classes):
            expected = embedding.conv(cost[:, k].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            torch.testing.assert_close(out[:, k], expected, rtol=1e-4, atol=1e-5)


@given(chunk=st.integers(1, 7))
def test_best_classes_are_those_with_the_highest_cosine_anywhere_in_each_crop(chunk: int) -> None:
    torch.manual_seed(0)
    text = F.normalize(torch.randn(1, 6, 2, 8), dim=-1)
    image = 1e-3 * torch.randn(2, 3, 4, 8)
    for crop, cell, klass, template in ((0, (0, 0), 5, 0), (0, (2, 3), 1, 1), (1, (1, 1), 2, 1), (1, (0, 2), 5, 1)):
        image[crop][cell] = 7 * text[0, klass, template]
    best = best_classes(image, text, number=2, classes_per_chunk=chunk)
    assert [set(row.tolist()) for row in best] == [{1, 5}, {2, 5}]


def test_best_classes_are_told_apart_under_autocast() -> None:
    torch.manual_seed(0)
    common = torch.randn(16)
    text = F.normalize(common + 0.05 * torch.randn(1, 200, 1, 16), dim=-1)  # cosines that half precision rounds alike
    image = torch.randn(1, 3, 4, 16)
    expected = best_classes(image, text, number=20, classes_per_chunk=64).sort().values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(best_classes(image, text, number=20, classes_per_chunk=64).sort().values, expected)


@pytest.mark.parametrize("kernel", [3, 7])
def test_gradients_are_those_of_the_convolution(kernel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = CostEmbedding(num_templates=2, hidden_dim=3, kernel_size=kernel).double()
    image = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    text = F.normalize(torch.randn(1, 3, 2, 6, dtype=torch.float64), dim=-1)
    weights = torch.randn(2, 3, 4, 5, 3, dtype=torch.float64)
    gradients = []
    for least in (1, 99):
        monkeypatch.setattr("catseg.modeling.aggregation.cost_volume.FOURIER_TEMPLATES", least)
        out = (embedding(image, text, classes_per_chunk=9) * weights).sum()
        gradients.append(torch.autograd.grad(out, [image, *embedding.parameters()]))
    for fourier, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(fourier, plain)


@pytest.mark.parametrize("templates", [2, FOURIER_TEMPLATES])
def test_autocast_does_not_lower_the_precision(templates: int) -> None:
    embedding = CostEmbedding(num_templates=templates, hidden_dim=4)
    image, text = torch.randn(1, 6, 5, 8).bfloat16(), F.normalize(torch.randn(1, 2, templates, 8), dim=-1)
    with torch.no_grad():
        full = embedding(image.float(), text, classes_per_chunk=9)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(embedding(image, text, classes_per_chunk=9), full)


def test_weights_of_low_precision_stay_out_of_the_frequency_domain() -> None:
    embedding = CostEmbedding(num_templates=FOURIER_TEMPLATES, hidden_dim=4)
    image, text = torch.randn(1, 6, 5, 8), F.normalize(torch.randn(1, 2, FOURIER_TEMPLATES, 8), dim=-1)
    with torch.no_grad():
        full = embedding(image, text, classes_per_chunk=9)
        half = embedding.bfloat16()(image, text, classes_per_chunk=9)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), full, rtol=0.05, atol=0.02)
