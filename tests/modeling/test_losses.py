import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from catseg.modeling.losses import class_wise_bce


@given(classes=st.integers(1, 4), ignored=st.floats(0, 1), seed=st.integers(0, 99))
def test_equals_bce_against_a_one_hot_map_of_zeros_where_ignored(classes: int, ignored: float, seed: int) -> None:
    torch.manual_seed(seed)
    logits = 4 * torch.randn(2, classes, 3, 4)
    target = torch.randint(classes, (2, 6, 7))
    target[torch.rand(target.shape) < ignored] = 255
    one_hot = torch.zeros(2, classes, 6, 7)
    for k in range(classes):
        one_hot[:, k] = (target == k).float()
    resized = F.interpolate(logits, size=(6, 7), mode="bilinear", align_corners=False)
    expected = F.binary_cross_entropy_with_logits(resized, one_hot)
    torch.testing.assert_close(class_wise_bce(logits, target, ignore_label=255), expected)


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[[[1000.0]], [[-1000.0]]]])
    assert class_wise_bce(logits, torch.zeros(1, 1, 1, dtype=torch.long), ignore_label=255) == 0


@pytest.mark.parametrize("label", [3, -1])
def test_labels_outside_the_vocabulary_are_named(label: int) -> None:
    with pytest.raises(ValueError, match=r"labels must be 0..2 or 255 \(ignored\), got"):
        class_wise_bce(torch.zeros(1, 3, 2, 2), torch.full((1, 2, 2), label), ignore_label=255)
