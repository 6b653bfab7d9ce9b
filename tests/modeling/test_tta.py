import pytest
import torch

from catseg.inference import Predictor
from catseg.modeling.layers.chunking import ChunkSizes
from catseg.modeling.sliding_window import SlidingWindow, WholeImage
from catseg.modeling.tta import AugmentedView, ScaledWindows, view_from_config
from tests.tiny import option_words, tiny_config, tiny_model, tiny_options

WINDOWS = SlidingWindow(kernel=64, overlap=0.333, size=(96, 128))


def image(height=50, width=90):
    return {"image": torch.randint(256, (3, height, width), dtype=torch.uint8), "height": height, "width": width}


def mirrored(item):
    return {**item, "image": item["image"].flip(-1)}


def augmented(model, *sizes, flip, max_size=1000, windows=None):
    """The same model with another view."""
    windows = windows or model.view
    model.view = AugmentedView(
        sizes=[ScaledWindows(windows=windows, min_size=size, max_size=max_size) for size in sizes], flip=flip
    )
    return model


def test_the_working_size_alone_changes_nothing(tmp_path):
    model, item = tiny_model(tmp_path), image()
    [plain] = model([item])
    [same] = augmented(model, 96, flip=False)([item])
    assert torch.equal(same["sem_seg"], plain["sem_seg"])


@pytest.mark.parametrize("windows", [None, WINDOWS, SlidingWindow(kernel=64, overlap=0.5, size=(0, 0))])
def test_what_is_found_in_a_mirrored_image_is_mirrored(tmp_path, windows):
    model, item = tiny_model(tmp_path), image()
    augmented(model, 80, 128, flip=True, windows=windows)
    [here], [there] = model([item]), model([mirrored(item)])
    torch.testing.assert_close(there["sem_seg"].flip(-1), here["sem_seg"])


def test_one_crop_of_the_whole_image_is_mirrored(tmp_path):
    model, item = tiny_model(tmp_path, TEST__SLIDING_WINDOW=False), image()
    [one], [other] = model([item]), model([mirrored(item)])
    [both] = augmented(model, flip=True)([item])
    torch.testing.assert_close(both["sem_seg"], (one["sem_seg"] + other["sem_seg"].flip(-1)) / 2)


def test_all_sizes_count_the_same(tmp_path):
    model, item = tiny_model(tmp_path), image()
    windows = model.view
    found = []
    for size in (64, 96, 150):
        model.view = SlidingWindow(kernel=windows.kernel, overlap=windows.overlap, size=(size, size))
        found += [model([item])[0]["sem_seg"], model([mirrored(item)])[0]["sem_seg"].flip(-1)]
    [mean] = augmented(model, 64, 96, 150, flip=True, windows=windows)([item])
    torch.testing.assert_close(mean["sem_seg"], torch.stack(found).mean(dim=0))


def test_labels_come_from_the_average_and_chunks_of_classes_agree(tmp_path):
    model, item = tiny_model(tmp_path), image()
    augmented(model, 64, 96, flip=True)
    scores, labels = model([item])[0]["sem_seg"].max(dim=0)
    model.chunk_sizes = ChunkSizes(4, 1)
    [found] = model.predict_labels([item])
    torch.testing.assert_close(found["scores"], scores)
    assert (found["labels"] == labels).float().mean() > 0.99


def test_sizes_keep_the_aspect_and_the_limits():
    wide = ScaledWindows(windows=WINDOWS, min_size=192, max_size=1000)
    assert wide.working_size((10, 10)) == (192, 256)
    assert ScaledWindows(windows=WINDOWS, min_size=192, max_size=200).working_size((10, 10)) == (150, 200)
    own = SlidingWindow(kernel=64, size=(0, 0))
    assert ScaledWindows(windows=own, min_size=100, max_size=1000).working_size((50, 200)) == (100, 400)
    # Never smaller than a window.
    assert ScaledWindows(windows=own, min_size=64, max_size=128).working_size((50, 500)) == (64, 128)


def test_logits_of_other_crops_are_refused():
    with pytest.raises(ValueError, match="expected logits of 2 crops, got 3"):
        AugmentedView(flip=True).merge(torch.zeros(3, 4, 8, 8), (8, 8), (8, 8))


def test_the_config_chooses(tmp_path):
    view = tiny_model(tmp_path, TEST__AUG__ENABLED=True, TEST__AUG__MIN_SIZES=(64, 96)).view
    assert [size.min_size for size in view.sizes] == [64, 96]
    assert view.flip
    whole = view_from_config(tiny_config(tmp_path, TEST__AUG__ENABLED=True, TEST__SLIDING_WINDOW=False))
    assert isinstance(whole, AugmentedView)
    assert whole.sizes == ()
    assert isinstance(view_from_config(tiny_config(tmp_path, TEST__SLIDING_WINDOW=False)), WholeImage)
    assert isinstance(view_from_config(tiny_config(tmp_path)), SlidingWindow)


@pytest.mark.parametrize("sizes", [(), (63, 96), (96, 5000)])
def test_sizes_that_cannot_be_are_named(tmp_path, sizes):
    cfg = tiny_config(tmp_path, TEST__AUG__ENABLED=True, TEST__AUG__MIN_SIZES=sizes)
    with pytest.raises(ValueError, match=r"TEST\.AUG\.MIN_SIZES .*SLIDING_KERNEL 64.*MAX_SIZE 4000"):
        view_from_config(cfg)


def test_the_predictor_follows_the_config(tmp_path):
    options = tiny_options(tmp_path) | {"TEST.AUG.ENABLED": True, "TEST.AUG.MIN_SIZES": (64, 96)}
    config = tmp_path / "config.yaml"
    config.write_text("VERSION: 2\n")
    predictor = Predictor.from_config(config, option_words(options), classes=["sea", "sand"])
    assert isinstance(predictor.model.view, AugmentedView)
    assert predictor(image()["image"]).labels.shape == (50, 90)
