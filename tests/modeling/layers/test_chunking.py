import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from catseg.modeling.layers.chunking import map_chunks


@given(length=st.integers(1, 9), size=st.integers(1, 12), dim=st.integers(0, 2), recording=st.booleans())
def test_pieces_give_the_whole(length: int, size: int, dim: int, recording: bool) -> None:
    shape = [2, 3, 4]
    shape[dim] = length
    x = torch.rand(shape)
    with torch.set_grad_enabled(recording):
        assert torch.equal(map_chunks(lambda piece: piece * 2 + 1, x, dim=dim, size=size), x * 2 + 1)


def test_no_piece_is_longer_than_asked() -> None:
    lengths = []

    def record(piece: torch.Tensor) -> torch.Tensor:
        lengths.append(piece.shape[1])
        return piece.sum(-1)

    out = map_chunks(record, torch.rand(2, 7, 3), dim=1, size=3)
    assert lengths == [3, 3, 1]
    assert out.shape == (2, 7)


@pytest.mark.parametrize("size", [2, 100])
def test_in_place_writes_over_the_input(size: int) -> None:
    x = torch.rand(2, 5)
    expected = x + 1
    with torch.no_grad():
        out = map_chunks(lambda piece: piece + 1, x, dim=1, size=size, in_place=True)
    assert out is x
    assert torch.equal(x, expected)


@pytest.mark.parametrize("in_place", [False, True])
def test_gradients_pass_and_the_input_stays(in_place: bool) -> None:
    x = torch.rand(2, 5, requires_grad=True)
    before = x.detach().clone()
    out = map_chunks(lambda piece: piece.square(), x, dim=1, size=2, in_place=in_place)
    out.sum().backward()
    assert torch.equal(x, before)
    assert torch.equal(x.grad, 2 * before)
