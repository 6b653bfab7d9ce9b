import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from catseg.modeling.sliding_window import SlidingWindow, WholeImage

PUBLISHED = SlidingWindow(kernel=384, overlap=0.333, size=(640, 640))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    kernel=st.integers(1, 90),
    overlap=st.floats(0, 0.99),
    sized=st.booleans(),
)
def test_windows_cover_every_pixel_and_stay_inside(
    height: int, width: int, kernel: int, overlap: float, sized: bool
) -> None:
    view = SlidingWindow(kernel=kernel, overlap=overlap, size=(kernel + height, kernel + width) if sized else (0, 0))
    rows, columns = view.working_size((height, width))
    assert rows >= kernel
    assert columns >= kernel
    coverage = view.coverage((height, width))
    assert coverage.shape == (rows, columns)
    assert coverage.min() >= 1
    assert coverage.sum() == len(view.windows((height, width))) * kernel**2
    if not sized:
        assert rows / columns == pytest.approx(height / width, rel=0.01 + 1 / kernel)


def published_merge(logits: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
    """The published setting, written with folding of patches as its authors describe it."""
    probabilities = F.interpolate(logits, size=(384, 384), mode="bilinear", align_corners=False).sigmoid()
    windows, whole = probabilities[:-1], probabilities[-1:]
    columns = windows.flatten(1).T.unsqueeze(0)  # (1, T * 384 * 384, windows)
    options = {"output_size": (640, 640), "kernel_size": 384, "stride": 256}
    total = F.fold(columns, **options)
    count = F.fold(torch.ones_like(columns), **options)
    whole = F.interpolate(whole, size=(640, 640), mode="bilinear", align_corners=False)
    merged = (total / count + whole) / 2
    return F.interpolate(merged, size=output_size, mode="bilinear", align_corners=False)[0]


def test_the_default_is_the_published_setting() -> None:
    torch.manual_seed(0)
    image = torch.randint(256, (3, 250, 333), dtype=torch.uint8)
    resized = F.interpolate(image[None].float(), size=(640, 640), mode="bilinear", align_corners=False)
    patches = F.unfold(resized, kernel_size=384, stride=256)[0].T.reshape(4, 3, 384, 384)
    whole = F.interpolate(image[None].float(), size=(384, 384), mode="bilinear", align_corners=False)
    crops = SlidingWindow().split(image)
    torch.testing.assert_close(torch.stack(crops), torch.cat((patches, whole)))
    logits = 3 * torch.randn(5, 2, 96, 96)
    merged = SlidingWindow().merge(logits, (250, 333), (250, 333))
    torch.testing.assert_close(merged, published_merge(logits, (250, 333)), rtol=0, atol=1e-5)


def test_the_last_window_is_snapped_to_the_border() -> None:
    view = SlidingWindow(kernel=4, overlap=0.5, size=(0, 0))
    assert view.starts(9) == [0, 2, 4, 5]
    assert view.starts(4) == [0]
    assert PUBLISHED.starts(640) == [0, 256]


def test_probabilities_of_constant_logits_are_constant_for_any_image() -> None:
    view = SlidingWindow(kernel=8, overlap=0.25, size=(0, 0))
    logits = torch.full((len(view.windows((11, 31))) + 1, 3, 2, 2), 0.7)
    merged = view.merge(logits, (11, 31), (5, 9))
    torch.testing.assert_close(merged, torch.full((3, 5, 9), torch.tensor(0.7).sigmoid().item()))


def test_merging_classes_in_parts_gives_the_same() -> None:
    logits = torch.randn(5, 4, 6, 6)
    view = SlidingWindow(kernel=24, overlap=0.333, size=(40, 40))
    together = view.merge(logits, (30, 50), (30, 50))
    parts = [view.merge(logits[:, k : k + 1], (30, 50), (30, 50)) for k in range(4)]
    torch.testing.assert_close(together, torch.cat(parts))


def test_whole_image_is_one_crop_and_keeps_logits() -> None:
    image, logits = torch.rand(3, 5, 7), torch.randn(1, 2, 4, 4)
    assert [crop.shape for crop in WholeImage().split(image)] == [(3, 5, 7)]
    before = logits.clone()
    expected = F.interpolate(logits.sigmoid(), size=(9, 8), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(WholeImage().merge(logits, (5, 7), (9, 8)), expected)
    assert torch.equal(logits, before)


def test_merging_leaves_logits_of_full_size_alone() -> None:
    view = SlidingWindow(kernel=4, overlap=0, size=(4, 4))
    logits = torch.randn(2, 1, 4, 4)
    before = logits.clone()
    view.merge(logits, (4, 4), (4, 4))
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 0}, "SLIDING_KERNEL must be positive"),
        ({"overlap": 1.0}, r"within \[0, 1\), got 384, 1.0"),
        ({"size": (640, 300)}, r"SLIDING_SIZE \(640, 300\) must be at least SLIDING_KERNEL 384"),
    ],
)
def test_impossible_windows_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SlidingWindow(**options)


def test_missing_crops_are_named() -> None:
    with pytest.raises(ValueError, match="4 windows and the whole image, got 4"):
        PUBLISHED.merge(torch.zeros(4, 1, 2, 2), (10, 10), (10, 10))


def test_the_whole_image_can_be_left_out_and_logits_be_scored_otherwise() -> None:
    view = SlidingWindow(kernel=4, overlap=0.5, size=(0, 0), whole_image=False, scoring=torch.tanh)
    image = torch.rand(3, 6, 8)
    crops = view.split(image)
    assert len(crops) == view.crop_count((6, 8)) == len(view.windows((6, 8))) == 6
    logits = torch.randn(6, 2, 4, 4)
    merged = view.merge(logits, (6, 8), (6, 8))
    total, count = torch.zeros(2, 6, 8), torch.zeros(6, 8)
    for crop, (rows, columns) in zip(logits, view.windows((6, 8)), strict=True):
        total[:, rows, columns] += crop.tanh()
        count[rows, columns] += 1
    torch.testing.assert_close(merged, total / count)
    with pytest.raises(ValueError, match=r"expected logits of 6 windows, got 7"):
        view.merge(torch.zeros(7, 2, 4, 4), (6, 8), (6, 8))
