import torch
from hypothesis import given
from hypothesis import strategies as st

from catseg.modeling.layers.windows import attention_regions, join_windows, shifted_window_mask, split_windows


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
def test_tokens_of_a_rolled_window_see_each_other_if_no_border_of_the_map_is_between_them(
    rows: int, columns: int, window: int, data: st.DataObject
) -> None:
    shift = data.draw(st.integers(0, window - 1))
    height, width = rows * window, columns * window
    regions = attention_regions((height, width), window, shift, torch.device("cpu"))
    assert regions.order.sort().values.tolist() == list(range(height * width))
    place = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), dim=-1)
    moved = place[None].roll((-shift, -shift), dims=(1, 2)) - place
    mask = shifted_window_mask((height, width), window, shift, like=torch.zeros(1, dtype=torch.float64))
    for window_moved, window_mask in zip(split_windows(moved, window, 1)[0], mask, strict=True):
        neighbours = (window_moved.unsqueeze(1) == window_moved).all(dim=-1)  # as the window shows them
        assert torch.equal(window_mask, torch.where(neighbours, 0.0, -100.0).double())


def test_regions_of_equal_length_are_grouped() -> None:
    assert attention_regions((4, 4), 2, 0, torch.device("cpu")).groups == ((4, 4),)
    assert attention_regions((4, 4), 2, 1, torch.device("cpu")).groups == ((4, 1), (4, 2), (1, 4))


def test_tokens_move_from_one_order_to_another() -> None:
    plain, shifted = (attention_regions((4, 6), 2, shift, torch.device("cpu")) for shift in (0, 1))
    tokens = torch.rand(24)
    assert torch.equal(tokens[plain.order][shifted.after(plain)], tokens[shifted.order])


def test_masks_are_made_where_the_map_is() -> None:
    like = torch.zeros(1)
    expected = shifted_window_mask((4, 6), 2, 1, like)
    with torch.device("meta"):  # the default, on which a tensor made without a device would be
        assert torch.equal(shifted_window_mask((4, 6), 2, 1, like), expected)
