from contextlib import suppress

import pytest
import torch

from catseg.engine.starting_weights import StartingWeights, check_alpha


def test_weights_are_mixed_and_given_back():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    model[0].bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start = StartingWeights(model, alpha=0.25)
    with torch.no_grad():
        for tensor in (model[0].weight, model[1].weight, model[1].running_mean):
            tensor += 4
    after = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with suppress(RuntimeError), start.mixed():
        torch.testing.assert_close(model[0].weight, before["0.weight"] + 1)
        torch.testing.assert_close(model[1].running_mean, before["1.running_mean"] + 1)
        raise RuntimeError("the evaluation fails")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, after[name]), name


@pytest.mark.parametrize(
    ("alpha", "weights", "message"),
    [
        (1.5, "model.pth", r"WISE_FT_ALPHA is 1\.5, expected a share"),
        (-0.1, "model.pth", "of at least 0"),
        (0.5, "", r"name them as MODEL\.WEIGHTS"),
    ],
)
def test_wrong_shares(toy_config, alpha, weights, message):
    with pytest.raises(ValueError, match=message):
        check_alpha(toy_config(SOLVER__WISE_FT_ALPHA=alpha, MODEL__WEIGHTS=weights))
