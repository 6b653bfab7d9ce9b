import io

import numpy as np
import pytest
from PIL import Image

from catseg.app.limits import Limits
from catseg.app.service import OWN_WORDS, Ask, Service
from catseg.app.shelf import Shelf
from tests.fake_module import LeftAndRight, fake_model

LIMITS = Limits(megabytes=0.5, megapixels=0.2, names=200, seconds=20, queue=8, sessions=4, minutes=5)


class Counting(LeftAndRight):
    """Counts the images that it encodes."""

    def __init__(self):
        super().__init__()
        self.encoded = 0

    def encode_image(self, item):
        self.encoded += 1
        return super().encode_image(item)


def make_service(module):
    return Service(Shelf(["shapes", "v2-base"], device="cpu", load=lambda word, device: fake_model(module)), LIMITS)


@pytest.fixture
def module():
    return Counting()


@pytest.fixture
def service(module):
    made = make_service(module)
    yield made
    made.close()


def picture(width=60, height=40, seed=0, kind="PNG"):
    """The content of an image's file."""
    pixels = np.random.default_rng(seed).integers(1, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def ask(words="left, right", vocabulary=OWN_WORDS, model="shapes"):
    return Ask(words, vocabulary, model, "cpu")


def finish(work):
    """The stages of a generator, and what it returns."""
    stages = []
    while True:
        try:
            stages.append(next(work))
        except StopIteration as end:
            return stages, end.value
