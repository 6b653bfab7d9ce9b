import re

import pytest
import torch

from catseg.shapes.caption_pairs import PHRASES, make_pairs
from catseg.shapes.classes import BACKGROUNDS, HELD_OUT_OBJECTS, OBJECTS

PATCH = re.compile(r"a (\w+ \w+ patch)")


@pytest.fixture(scope="module")
def pairs():
    return make_pairs(60, 16, size=24, generator=torch.Generator().manual_seed(0))


def flat(captions):
    return [caption for batch in captions for caption in batch]


def test_every_image_has_a_caption(pairs):
    assert (pairs.images.shape, pairs.images.dtype) == ((60, 16, 3, 24, 24), torch.uint8)
    assert [len(batch) for batch in pairs.captions] == [16] * 60


def test_captions_are_made_of_phrases_and_class_names(pairs):
    starts = {phrase.split("{}")[0] for phrase in PHRASES}
    names = set(OBJECTS)
    grounds = "|".join(BACKGROUNDS)
    form = re.compile(rf"({'|'.join(starts)})(a [\w ]+ patch( and a [\w ]+ patch)?( on ({grounds}))?|{grounds})\.")
    for caption in flat(pairs.captions):
        assert form.fullmatch(caption), caption
        assert set(PATCH.findall(caption)) <= names


def test_close_ups_and_bare_grounds_occur(pairs):
    captions = flat(pairs.captions)
    without_ground = [caption for caption in captions if not any(ground in caption for ground in BACKGROUNDS)]
    bare = [caption for caption in captions if "patch" not in caption]
    assert 0.1 < len(without_ground) / len(captions) < 0.3
    assert 0.05 < len(bare) / len(captions) < 0.15


def test_some_batches_have_one_colour(pairs):
    colours = [{name.split()[0] for caption in batch for name in PATCH.findall(caption)} for batch in pairs.captions]
    single = sum(len(colour) == 1 for colour in colours)
    assert 0.1 < single / len(colours) < 0.45


def test_captions_tell_what_the_images_show(pairs):
    """Bare grounds have nothing on them: snow is brighter than sand, and sand than a night sky."""
    images = pairs.images.flatten(0, 1).float()
    mean = {
        ground: images[[ground in caption and "patch" not in caption for caption in flat(pairs.captions)]].mean()
        for ground in ("night sky", "sand", "snow")
    }
    assert mean["night sky"] + 50 < mean["sand"] < mean["snow"] - 50


def test_left_out_objects_are_never_named():
    kept = tuple(name for name in OBJECTS if name not in HELD_OUT_OBJECTS)
    pairs = make_pairs(40, 16, size=16, generator=torch.Generator().manual_seed(1), objects=kept)
    assert set(PATCH.findall(" ".join(flat(pairs.captions)))) == set(kept)


def test_same_seed_same_pairs():
    first, second = (make_pairs(2, 4, size=16, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert first.captions == second.captions
    assert torch.equal(first.images, second.images)
