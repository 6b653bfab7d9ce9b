import math

import pytest
import torch
from torch import Tensor

from catseg.modeling.layers.deformable_attention import DeformableAttention, cell_centres

GRIDS = [(4, 6), (2, 3)]
CELLS = 4 * 6 + 2 * 3


def layer(**options: object) -> DeformableAttention:
    """A small layer with random weights, in double precision."""
    torch.manual_seed(0)
    attention = DeformableAttention(**{"dim": 8, "heads": 2, "levels": 2, "points": 3} | options).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return attention


def bilinear(grid: Tensor, x: float, y: float) -> Tensor:
    """The value of a map `(H, W, D)` at a point in cells, where cell 0 has its centre at 0; 0 outside."""
    rows, columns, dim = grid.shape
    total = torch.zeros(dim, dtype=grid.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < rows and 0 <= column < columns:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * grid[row, column]
    return total


def by_definition(attention: DeformableAttention, query: Tensor, centres: Tensor, values: Tensor) -> Tensor:
    """The equation of the paper, point by point, for one image."""
    heads, levels, points = attention.heads, attention.levels, attention.points
    offsets = attention.sampling_offsets(query).view(-1, heads, levels, points, 2)
    weights = attention.attention_weights(query).view(-1, heads, levels * points).softmax(-1)
    projected = attention.value_proj(values).view(CELLS, heads, -1)
    out = torch.zeros(len(query), heads, projected.shape[-1], dtype=query.dtype)
    for q, m, i, p in torch.cartesian_prod(*(torch.arange(n) for n in (len(query), heads, levels, points))).tolist():
        start = sum(rows * columns for rows, columns in GRIDS[:i])
        rows, columns = GRIDS[i]
        grid = projected[start : start + rows * columns, m].view(rows, columns, -1)
        shift = offsets[q, m, i, p]
        x = float(centres[q, 0] * columns + shift[0] - 0.5)
        y = float(centres[q, 1] * rows + shift[1] - 0.5)
        out[q, m] += weights[q, m, i * points + p] * bilinear(grid, x, y)
    return attention.output_proj(out.flatten(1))


@pytest.mark.parametrize("value_ratio", [1.0, 0.5])
def test_equals_its_definition(value_ratio: float) -> None:
    attention = layer(value_ratio=value_ratio)
    query, values = torch.randn(2, 5, 8).double(), torch.randn(2, CELLS, 8).double()
    centres = torch.rand(5, 2).double()
    with torch.no_grad():
        found = attention(query, centres, values, GRIDS)
        for i in range(2):
            torch.testing.assert_close(found[i], by_definition(attention, query[i], centres, values[i]))


def test_far_points_read_nothing() -> None:
    attention = layer()
    with torch.no_grad():
        attention.sampling_offsets.weight.zero_()
        attention.sampling_offsets.bias.fill_(1e3)
        out = attention(
            torch.randn(1, 5, 8).double(), torch.rand(5, 2).double(), torch.ones(1, CELLS, 8).double(), GRIDS
        )
    torch.testing.assert_close(out, attention.output_proj.bias.expand_as(out))


def test_centres_go_row_by_row_and_grid_by_grid() -> None:
    centres = cell_centres([(2, 3), (1, 1)], torch.device("cpu"))
    x, y = centres.T
    torch.testing.assert_close(x, torch.tensor([1 / 6, 3 / 6, 5 / 6, 1 / 6, 3 / 6, 5 / 6, 0.5]))
    torch.testing.assert_close(y, torch.tensor([1 / 4, 1 / 4, 1 / 4, 3 / 4, 3 / 4, 3 / 4, 0.5]))


def test_at_first_each_head_looks_its_own_way() -> None:
    attention = DeformableAttention(dim=16, heads=8, levels=2, points=3)
    offsets = attention.sampling_offsets(torch.randn(1, 16)).view(8, 2, 3, 2)
    around = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for p in range(3):
        expected = (p + 1) * torch.tensor(around, dtype=torch.float32)
        torch.testing.assert_close(offsets[:, 0, p], expected)
        torch.testing.assert_close(offsets[:, 1, p], expected)
    assert attention.attention_weights(torch.randn(1, 16)).abs().max() == 0


def test_gradients_reach_the_positions() -> None:
    attention = layer()
    query, values = torch.randn(1, 3, 8).double(), torch.randn(1, CELLS, 8).double()
    centres = 0.3 + 0.4 * torch.rand(3, 2).double()

    def function(offset_bias: Tensor) -> Tensor:
        parameters = {"sampling_offsets.bias": offset_bias}
        return torch.func.functional_call(attention, parameters, (query, centres, values, GRIDS))

    assert torch.autograd.gradcheck(function, (attention.sampling_offsets.bias.detach().requires_grad_(),))


def test_positions_stay_exact_under_autocast() -> None:
    """With 300 columns, bfloat16 would read the wrong cells."""
    attention = DeformableAttention(dim=4, heads=1, levels=1, points=1)
    with torch.no_grad():
        attention.sampling_offsets.bias.zero_()
        for projection in (attention.value_proj, attention.output_proj):
            projection.weight.copy_(torch.eye(4))
    values = torch.zeros(1, 300, 4)
    values[0, 201] = 1
    centres = cell_centres([(1, 300)], torch.device("cpu"))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = attention(torch.randn(1, 300, 4), centres, values, [(1, 300)])
    torch.testing.assert_close(out.float(), values, atol=1e-2, rtol=0)


def test_heads_must_divide_the_values() -> None:
    with pytest.raises(ValueError, match="3 heads cannot split 4 channels"):
        DeformableAttention(dim=8, heads=3, levels=1, value_ratio=0.5)
