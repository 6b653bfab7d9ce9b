import pytest
import torch

from catseg.weight_files.fitting import check_fit, strip_prefix

NETWORK = {"stem.weight", "blocks.0.weight", "blocks.1.weight"}


@pytest.mark.parametrize("prefix", ["", "model.", "net.module.", "lightning.model.encoder."])
def test_the_prefix_under_which_most_names_fit_is_taken_off(prefix):
    state = {f"{prefix}{name}": torch.ones(1) for name in NETWORK}
    inside, elsewhere = strip_prefix(state | {"loss.weight": torch.ones(1)}, NETWORK.__contains__)
    assert inside.keys() >= NETWORK
    assert elsewhere == (["loss.weight"] if prefix else [])


def test_names_that_never_fit_stay_as_they_are():
    state = {"a.b.weight": torch.ones(1), "c": torch.ones(1)}
    assert strip_prefix(state, NETWORK.__contains__) == (state, [])


def test_long_lists_are_shortened():
    with pytest.raises(ValueError, match=r"100 unknown: x0, x1, x2, x3, x4 and 95 more; 1 missing: a$"):
        check_fit({f"x{i}": torch.ones(1) for i in range(100)}, {"a": torch.Size([1])}, source="a test")
