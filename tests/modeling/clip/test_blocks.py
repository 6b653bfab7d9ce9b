import pytest
import torch
from open_clip.transformer import Transformer

from catseg.modeling.clip.blocks import run_transformer
from catseg.modeling.clip.projections import separate_projections


@pytest.fixture
def transformer():
    model = Transformer(width=32, layers=3, heads=4, ls_init_value=0.5).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_blocks_compute_what_open_clip_computes(transformer, separate, masked):
    x = torch.randn(3, 7, 32)
    mask = torch.full((7, 7), -torch.inf).triu(1) if masked else None
    with torch.no_grad():
        expected = transformer(x, attn_mask=mask)
    if separate:
        separate_projections(transformer)
    x.requires_grad_(True)
    found = run_transformer(transformer, x, mask)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    found.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in transformer.parameters())


def test_in_bfloat16_weights_are_not_copied_for_each_token(transformer):
    """What PyTorch's attention does with tokens in bfloat16: a batched product with the weights for each of them."""
    x = torch.randn(5, 7, 32, dtype=torch.bfloat16)
    for run, copies in ((run_transformer, False), (lambda model, x, _: model(x), True)):
        with torch.profiler.profile() as profile, torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            run(transformer, x, None)
        assert ("aten::bmm" in {event.name for event in profile.events()}) == copies
