import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from catseg.modeling.aggregation.cost_volume import CostEmbedding, best_classes, cosine_cost_volume


def test_cost_is_the_cosine_of_pixel_and_prompt() -> None:
    image = F.normalize(torch.randn(2, 3, 4, 8), dim=-1)
    text = F.normalize(torch.randn(2, 5, 6, 8), dim=-1)
    cost = cosine_cost_volume(image, text)
    assert cost.shape == (2, 5, 3, 4, 6)
    torch.testing.assert_close(cost[1, 4, 2, 3, 5], image[1, 2, 3] @ text[1, 4, 5])
    torch.testing.assert_close(cost, torch.einsum("bhwc,btpc->bthwp", image, text))
    torch.testing.assert_close(cosine_cost_volume(image, text[:1])[0], cost[0])


@given(classes=st.integers(1, 5), chunk=st.integers(1, 6))
def test_embedding_is_a_convolution_per_class_in_chunks_of_any_size(classes: int, chunk: int) -> None:
    torch.manual_seed(0)
    embedding = CostEmbedding(num_templates=3, hidden_dim=4)
    image, text = 5 * torch.randn(2, 6, 5, 8), F.normalize(torch.randn(1, classes, 3, 8), dim=-1)
    with torch.no_grad():
        out = embedding(image, text, chunk=chunk)
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
    best = best_classes(image, text, number=2, chunk=chunk)
    assert [set(row.tolist()) for row in best] == [{1, 5}, {2, 5}]
