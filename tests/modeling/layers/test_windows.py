import torch
from hypothesis import given
from hypothesis import strategies as st

from catseg.modeling.layers.windows import join_windows, shifted_window_mask, split_windows


@given(rows=st.integers(1, 3), columns=st.integers(1, 3), window=st.integers(1, 4), heads=st.integers(1, 3))
def test_join_undoes_split(rows: int, columns: int, window: int, heads: int) -> None:
    x = torch.rand(2, rows * window, columns * window, heads * 2)
    windows = split_windows(x, window, heads)
    assert windows.shape == (2, rows * columns * heads, window * window, 2)
    assert torch.equal(join_windows(windows, window, heads, (rows * window, columns * window)), x)


def test_a_window_holds_neighbouring_tokens() -> None:
    x = torch.arange(16.0).reshape(1, 4, 4, 1)
    assert split_windows(x, 2, 1)[0, 1, :, 0].tolist() == [2, 3, 6, 7]


@given(rows=st.integers(1, 3), columns=st.integers(1, 3), window=st.integers(2, 4), data=st.data())
def test_tokens_see_each_other_if_no_border_of_the_map_is_between_them(
    rows: int, columns: int, window: int, data: st.DataObject
) -> None:
    shift = data.draw(st.integers(1, window - 1))
    height, width = rows * window, columns * window
    mask = shifted_window_mask((height, width), window, shift, 1, like=torch.zeros(1))
    position = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), dim=-1)
    came_from = position[None].roll((-shift, -shift), dims=(1, 2))  # original place of each token of the rolled map
    moved = split_windows(came_from - position, window, 1)[0]  # (windows, w * w, row and column)
    apart = (moved.unsqueeze(2) != moved.unsqueeze(1)).any(dim=-1)  # not neighbours in the way the window shows them
    assert torch.equal(mask[0] == -100, apart)
    assert torch.equal(mask[0] == 0, ~apart)


def test_all_heads_get_the_same_mask() -> None:
    mask = shifted_window_mask((4, 4), 2, 1, 3, like=torch.zeros(1, dtype=torch.float64))
    assert mask.shape == (1, 12, 4, 4)
    assert mask.dtype == torch.float64
    assert torch.equal(mask[0, 0::3], mask[0, 2::3])
