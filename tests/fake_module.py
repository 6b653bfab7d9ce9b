"""Stands in for the network where what is around it is tested."""

from types import SimpleNamespace

import torch
from detectron2.config import CfgNode, get_cfg

from catseg.api.model import CATSegModel
from catseg.config import add_catseg_config
from catseg.errors import NotFiniteError
from catseg.modeling.image_logits import ImageFeatures, ImageLogits
from catseg.modeling.layers.chunking import ChunkSizes
from catseg.modeling.sliding_window import WholeImage
from catseg.vocabulary import load_vocabulary

PROBABILITY = 0.75


class LeftAndRight:
    """Sees the first class in the left half and the second one, or the only one, in the right half, both at 0.75.

    All further classes, such as those of a context, are nowhere. Black images have no number.
    """

    def __init__(self):
        self.classes = ()
        self.vocabularies = []
        self.batches = []
        self.training = True
        self.device = torch.device("cpu")
        self.text_encoder = SimpleNamespace(templates=("a {}",), reads_whole=lambda name: len(name) <= 60)

    def eval(self):
        self.training = False
        return self

    def to(self, device):
        self.device = torch.device(device)
        return self

    def set_templates(self, templates):
        self.text_encoder.templates = tuple(templates)

    def set_vocabulary(self, names):
        self.classes = load_vocabulary(names)
        self.vocabularies.append(self.classes)

    def text_features(self, vocabulary):
        return torch.zeros(len(vocabulary), 1, 1)

    def encode_image(self, item):
        return ImageFeatures(((item["image"], {}),), *self._sizes(item))

    def classify(self, features):
        return self._logits(features.chunks[0][0], features.image_size, features.output_size)

    def image_logits(self, batched_inputs):
        assert not self.training
        self.batches.append(len(batched_inputs))
        return [self._logits(item["image"], *self._sizes(item)) for item in batched_inputs]

    def label_image(self, found):
        if found.logits.isnan().any():
            raise NotFiniteError("the scores are not numbers")
        labels, scores = found.labels()
        return {"labels": labels, "scores": scores}

    def _sizes(self, item):
        return tuple(item["image"].shape[-2:]), (item["height"], item["width"])

    def _logits(self, image, image_size, output_size):
        height, width = image_size
        maps = torch.full((len(self.classes), height, width), -30.0)
        half, certain = width // 2, float(torch.logit(torch.tensor(PROBABILITY)))
        maps[0, :, :half] = certain
        maps[min(1, len(maps) - 1), :, half:] = certain
        if not image.any():
            maps[:] = torch.nan
        return ImageLogits(maps[None], WholeImage(), ChunkSizes(), image_size, output_size)


def images_as_they_are() -> CfgNode:
    """A config whose images are not resized."""
    cfg = get_cfg()
    add_catseg_config(cfg)
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def fake_model(module=None, **options) -> CATSegModel:
    return CATSegModel(module or LeftAndRight(), images_as_they_are(), **options)
