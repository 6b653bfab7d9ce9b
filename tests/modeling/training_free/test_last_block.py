import itertools

import pytest
import torch
from open_clip.model import CLIP

from catseg.errors import InputError
from catseg.modeling.clip.image_encoder import DenseImageEncoder
from catseg.modeling.clip.projections import separate_projections
from catseg.modeling.training_free.attention import ATTENTIONS
from catseg.modeling.training_free.last_block import METHODS, TrainingFreeBlock
from tests.tiny import CLIP_CONFIG

GRID = (3, 4)


@pytest.fixture
def visual() -> torch.nn.Module:
    visual = CLIP(**CLIP_CONFIG).eval().visual
    for block in visual.transformer.resblocks:
        torch.nn.init.normal_(block.attn.in_proj_bias)
        torch.nn.init.normal_(block.attn.out_proj.bias)
    return visual


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randn(2, 13, 32)


def test_vanilla_with_everything_is_the_block_itself(visual: torch.nn.Module, tokens: torch.Tensor) -> None:
    last = visual.transformer.resblocks[-1]
    block = TrainingFreeBlock("vanilla", residual=True, mlp=True)
    torch.testing.assert_close(block(last, tokens, grid=GRID), last(tokens), rtol=1e-4, atol=1e-5)


def test_maskclip_with_everything_is_the_value_path(visual: torch.nn.Module) -> None:
    images = torch.rand(2, 3, 24, 32)
    encoder = DenseImageEncoder(visual=visual, grid=GRID)
    block = TrainingFreeBlock("maskclip", residual=True, mlp=True)
    found, _ = encoder.encode(images, last_block=lambda last, x: block(last, x, grid=GRID))
    torch.testing.assert_close(found, encoder(images))


@pytest.mark.parametrize("method", [method for method in METHODS if method != "proxyclip"])
def test_residual_and_mlp_are_added_to_the_attention(
    visual: torch.nn.Module, tokens: torch.Tensor, method: str
) -> None:
    last = visual.transformer.resblocks[-1]
    attended = TrainingFreeBlock(method)(last, tokens, grid=GRID)
    for residual, mlp in itertools.product((False, True), repeat=2):
        expected = attended + tokens if residual else attended
        expected = expected + last.mlp(last.ln_2(expected)) if mlp else expected
        found = TrainingFreeBlock(method, residual=residual, mlp=mlp)(last, tokens, grid=GRID)
        torch.testing.assert_close(found, expected)


def test_methods_differ(visual: torch.nn.Module, tokens: torch.Tensor) -> None:
    last = visual.transformer.resblocks[-1]
    found = [TrainingFreeBlock(method)(last, tokens, grid=GRID) for method in ("maskclip", *ATTENTIONS)]
    assert not any(torch.allclose(a, b) for a, b in itertools.combinations(found, 2))


def test_proxyclip_mixes_the_values_of_its_own_cells(visual: torch.nn.Module, tokens: torch.Tensor) -> None:
    """As many cells as patches, each like nothing else: every cell has the value of its patch, rows before columns."""
    last = visual.transformer.resblocks[-1]
    proxy = torch.eye(12).view(1, 12, *GRID).expand(2, -1, -1, -1)
    found = TrainingFreeBlock("proxyclip")(last, tokens, grid=GRID, proxy=proxy)
    torch.testing.assert_close(found, TrainingFreeBlock("maskclip")(last, tokens, grid=GRID)[:, 1:])


def test_proxyclip_has_the_cells_of_the_proxy(visual: torch.nn.Module, tokens: torch.Tensor) -> None:
    last = visual.transformer.resblocks[-1]
    block = TrainingFreeBlock("proxyclip")
    assert block(last, tokens, grid=GRID, proxy=torch.randn(2, 7, 5, 6)).shape == (2, 30, 32)
    with pytest.raises(ValueError, match="proxyclip needs features of a proxy"):
        block(last, tokens, grid=GRID)


def test_separate_projections_are_as_good(visual: torch.nn.Module, tokens: torch.Tensor) -> None:
    last, block = visual.transformer.resblocks[-1], TrainingFreeBlock("sclip")
    expected = block(last, tokens, grid=GRID)
    separate_projections(visual)
    torch.testing.assert_close(block(last, tokens, grid=GRID), expected)


@pytest.mark.parametrize("residual", [False, True])
def test_what_proxyclip_has_no_use_for_is_refused(residual: bool) -> None:
    with pytest.raises(InputError, match="RESIDUAL and MLP must be False with METHOD proxyclip"):
        TrainingFreeBlock("proxyclip", residual=residual, mlp=not residual)
