import pytest
import torch
import torch.nn.functional as F

from catseg.modeling.aggregation.guidance import Guidance


def guidance(**options: object) -> Guidance:
    arguments = {
        "map_dims": [4, 6, 8],
        "text_dim": 10,
        "appearance_dim": 5,
        "text_guidance_dim": 7,
        "decoder_dims": [3, 2],
    }
    return Guidance(**arguments | options)


def test_projections_have_the_stated_shapes_and_sources() -> None:
    module = guidance()
    maps = [torch.rand(2, 4, 16, 16), torch.rand(2, 6, 8, 8), torch.rand(2, 8, 4, 4)]
    text = F.normalize(torch.randn(2, 9, 3, 10), dim=-1)
    appearance, text_guidance, decoder = module(maps, text)
    assert appearance.shape == (2, 4, 4, 5)
    torch.testing.assert_close(appearance, F.relu(module.appearance(maps[2])).permute(0, 2, 3, 1))
    torch.testing.assert_close(text_guidance, F.relu(module.text(F.normalize(text.mean(2), dim=-1))))
    assert [tuple(x.shape) for x in decoder] == [(2, 3, 8, 8), (2, 2, 16, 16)]
    assert min(x.min() for x in (appearance, text_guidance, *decoder)) >= 0


def test_number_of_maps_must_fit_the_decoder() -> None:
    with pytest.raises(ValueError, match=r"one backbone map more .* \[3, 2\] .* maps of \[4, 6\] channels"):
        guidance(map_dims=[4, 6])
