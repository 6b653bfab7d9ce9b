import torch
import torch.nn.functional as F

from catseg.modeling.layers.pos_embed import resize_position_embedding, resize_position_embedding_by_factors


def test_equal_grids_keep_the_table() -> None:
    table = torch.rand(1 + 6, 5)
    assert resize_position_embedding(table, (2, 3), (2, 3)) is table


def test_class_position_is_kept_and_the_grid_resized_bicubically() -> None:
    table = torch.rand(1 + 6, 5)
    resized = resize_position_embedding(table, (2, 3), (4, 4))
    grid = table[1:].reshape(1, 2, 3, 5).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, size=(4, 4), mode="bicubic", align_corners=False)
    assert resized.shape == (17, 5)
    assert torch.equal(resized[0], table[0])
    for row in range(4):
        for column in range(4):
            torch.testing.assert_close(resized[1 + row * 4 + column], expected[0, :, row, column])


def test_resizing_by_factors_is_near_resizing_to_the_size_and_not_the_same() -> None:
    table = torch.rand(1 + 16, 5)
    by_factors = resize_position_embedding_by_factors(table, (4, 4), (5, 7))
    grid = table[1:].T.reshape(1, 5, 4, 4)
    expected = F.interpolate(grid, scale_factor=(5.1 / 4, 7.1 / 4), mode="bicubic", recompute_scale_factor=False)
    torch.testing.assert_close(by_factors[1:], expected[0].flatten(1).T)
    to_the_size = resize_position_embedding(table, (4, 4), (5, 7))
    assert by_factors.shape == to_the_size.shape
    assert 1e-3 < (by_factors - to_the_size).abs().max() < 0.3
    assert torch.equal(by_factors[0], table[0])


def test_by_factors_a_grid_of_as_many_patches_keeps_the_table() -> None:
    table = torch.rand(1 + 16, 5)
    assert resize_position_embedding_by_factors(table, (4, 4), (2, 8)) is table
