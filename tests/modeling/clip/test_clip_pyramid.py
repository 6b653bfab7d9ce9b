import pytest
import torch

from catseg.config import load_config
from catseg.modeling.clip.clip_pyramid import ClipPyramid


@pytest.mark.parametrize(
    ("config", "blocks", "width", "output_dim"), [("base", (7, 3), 768, 512), ("large", (15, 7), 1024, 768)]
)
def test_published_sizes(config: str, blocks: tuple[int, int], width: int, output_dim: int) -> None:
    pyramid = ClipPyramid(load_config(f"configs/catseg_v2_{config}.yaml"))
    assert pyramid.blocks == blocks
    assert pyramid.upsample_res2.weight.shape == (width, 128, 4, 4)
    assert pyramid.upsample_res3.weight.shape == (width, 256, 2, 2)
    assert pyramid.output_shape()["res4"].channels == output_dim


def test_maps_are_what_output_shape_says() -> None:
    pyramid = ClipPyramid(width=6, output_dim=5, layers=3, channels=(3, 4))
    dense, tokens = torch.rand(2, 5, 3, 2), [torch.rand(2, 6, 3, 2) for _ in range(2)]
    maps = pyramid(dense, tokens)
    assert maps["res4"] is dense
    shapes = pyramid.output_shape()
    assert set(maps) == set(shapes) == {"res2", "res3", "res4"}
    for name, shape in shapes.items():
        scale = 16 // shape.stride
        assert maps[name].shape == (2, shape.channels, 3 * scale, 2 * scale)
    torch.testing.assert_close(maps["res2"], pyramid.upsample_res2(tokens[0]))
    torch.testing.assert_close(maps["res3"], pyramid.upsample_res3(tokens[1]))
