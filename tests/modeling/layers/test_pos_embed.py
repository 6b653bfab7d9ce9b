import torch
import torch.nn.functional as F

from catseg.modeling.layers.pos_embed import resize_position_embedding


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
