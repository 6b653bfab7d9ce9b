import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catseg.shapes.classes import (
    BACKGROUNDS,
    CLASSES,
    COLOURS,
    HELD_OUT,
    HELD_OUT_BACKGROUNDS,
    HELD_OUT_OBJECTS,
    OBJECTS,
    SEEN,
    SEEN_OBJECTS,
)
from catseg.shapes.scenes import Scenes, class_numbers, draw_scenes, sample_scenes, share


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def scene(objects, background):
    numbers = class_numbers(objects)
    padded = numbers + [-1] * (3 - len(numbers))
    return Scenes(torch.tensor([padded]), torch.tensor(class_numbers([background])))


def test_classes_are_split_into_seen_and_held_out():
    assert (len(CLASSES), len(SEEN), len(HELD_OUT)) == (36, 27, 9)
    assert CLASSES == SEEN + HELD_OUT
    assert set(CLASSES) == set(OBJECTS) | set(BACKGROUNDS)
    assert set(HELD_OUT) == set(HELD_OUT_OBJECTS) | set(HELD_OUT_BACKGROUNDS)


@pytest.mark.parametrize("word", range(2))
def test_held_out_objects_are_new_compositions_of_known_words(word):
    words = [name.split()[word] for name in HELD_OUT_OBJECTS]
    assert set(words) == {name.split()[word] for name in OBJECTS}
    for each in set(words):
        assert words.count(each) <= 2
        assert sum(name.split()[word] == each for name in SEEN_OBJECTS) >= 3


def test_sampled_scenes_follow_the_weights():
    objects = class_numbers(["red plain patch", "blue dotted patch", "green striped patch", "green plain patch"])
    snow = class_numbers(["snow"])
    scenes = sample_scenes(share(objects).expand(600, -1), share(snow).expand(600, -1), generator())
    counts = (scenes.objects >= 0).sum(dim=1)
    assert torch.bincount(counts, minlength=4).tolist()[0] == 0
    assert (torch.bincount(counts)[1:] > 150).all()
    assert set(scenes.objects.unique().tolist()) == {-1, *objects}
    assert scenes.backgrounds.unique().tolist() == snow
    for row in scenes.objects.tolist():
        present = [number for number in row if number >= 0]
        assert len(set(present)) == len(present)
        assert row[: len(present)] == present


def test_at_most_so_many_objects_as_asked_for():
    weights = share(class_numbers(OBJECTS)).expand(50, -1)
    scenes = sample_scenes(weights, share(class_numbers(BACKGROUNDS)).expand(50, -1), generator(), max_objects=2)
    assert (scenes.objects[:, 2] == -1).all()
    assert (scenes.objects[:, 1] >= 0).any()


def test_unknown_class_is_refused():
    with pytest.raises(KeyError, match="pink"):
        class_numbers(["pink plain patch"])


@settings(max_examples=15)
@given(size=st.integers(16, 96), number=st.integers(1, 5), seed=st.integers(0, 99))
def test_images_and_labels_fit_their_scenes(size, number, seed):
    source = generator(seed)
    weights = share(class_numbers(OBJECTS)).expand(number, -1)
    scenes = sample_scenes(weights, share(class_numbers(BACKGROUNDS)).expand(number, -1), source)
    images, labels = draw_scenes(scenes, size=size, generator=source)
    assert (images.shape, images.dtype) == ((number, 3, size, size), torch.uint8)
    assert (labels.shape, labels.dtype) == ((number, size, size), torch.uint8)
    for row, label, background in zip(scenes.objects.tolist(), labels, scenes.backgrounds.tolist(), strict=True):
        assert set(label.unique().tolist()) <= {number for number in row if number >= 0} | {background}


def test_same_seed_same_pixels():
    def drawn(seed):
        return draw_scenes(scene(["red dotted patch"], "sand"), size=32, generator=generator(seed))

    assert all(torch.equal(*pair) for pair in zip(drawn(1), drawn(1), strict=True))
    assert not torch.equal(drawn(1)[1], drawn(2)[1])


@pytest.mark.parametrize("colour", COLOURS)
def test_labels_lie_exactly_on_the_objects(colour):
    """A plain object on a night sky is far brighter than it: thresholding the image gives the label map."""
    images, labels = draw_scenes(scene([f"{colour} plain patch"], "night sky"), size=64, generator=generator(3))
    stars = images[0].amin(dim=0) > 110
    bright = (images[0].amax(dim=0) > 95) & ~stars
    on_object = labels[0] == class_numbers([f"{colour} plain patch"])[0]
    assert 0.05 < on_object.float().mean() < 0.7
    assert torch.equal(bright[~stars], on_object[~stars])


@pytest.mark.parametrize(("texture", "darker"), [("striped", True), ("dotted", False), ("checkered", False)])
def test_textures_change_the_colour_in_their_own_way(texture, darker):
    def brightness(kind):
        sky = torch.tensor(class_numbers(["night sky"]))
        many = Scenes(scene([f"blue {kind} patch"], "snow").objects.expand(40, -1), sky.expand(40))
        images, labels = draw_scenes(many, size=48, generator=generator(), enlargement=torch.full((40,), 5.0))
        assert (labels != sky).float().mean() > 0.9  # enlarged, it fills the image
        return images.float().mean()

    assert (brightness(texture) < brightness("plain")) == darker


def test_later_objects_cover_earlier_ones():
    names = ["red plain patch", "blue plain patch"]
    both = scene(names, "grass")
    _, labels = draw_scenes(both, size=64, generator=generator(), enlargement=torch.tensor([5.0]))
    shares = [(labels == number).float().mean().item() for number in class_numbers(names)]
    assert shares[1] > 0.8 > shares[0]
