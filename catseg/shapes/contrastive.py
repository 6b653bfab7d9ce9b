"""Contrastive training of a small CLIP on drawn image-caption pairs, and the test of its dense features.

Shapes: N images of a batch, H x W patches, T classes, C joint embedding width.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from catseg.modeling.clip.image_encoder import DenseImageEncoder
from catseg.modeling.clip.loading import Tokenizer
from catseg.modeling.clip.text_encoder import TextEncoder
from catseg.shapes.caption_pairs import make_pairs
from catseg.shapes.classes import BACKGROUNDS, HELD_OUT_OBJECTS, OBJECTS
from catseg.shapes.scenes import class_numbers, draw_scenes, sample_scenes, share
from catseg.vocabulary import Vocabulary

BATCHES_DRAWN_AT_ONCE = 50
MAX_LOGIT_SCALE = math.log(100)


@dataclass(frozen=True)
class Schedule:
    """Optimisation settings.

    Attributes:
        steps: batches to train on; every one is drawn anew.
        batch_size: pairs N per batch.
        lr: highest learning rate; it falls to 0 along a cosine.
        weight_decay: of matrices.
        warmup: share of the steps in which the rate rises to `lr`.
        value_path: share of the batches in which the last block's attention looks at nothing but the token itself, as
            when dense features are read.
    """

    steps: int = 2400
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    value_path: float = 0.5


@dataclass(frozen=True)
class PixelNorm:
    """Mean and standard deviation of CLIP's input, RGB, 0..255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise uint8 images (N, 3, S, S)."""
        mean, std = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (self.mean, self.std))
        return (images.float() - mean) / std


def train_clip(
    clip: CLIP,
    tokenizer: Tokenizer,
    schedule: Schedule,
    *,
    normalise: PixelNorm,
    generator: torch.Generator,
    objects: tuple[str, ...] = OBJECTS,
) -> Iterator[float]:
    """Train a model in place: images and captions of a batch find each other. The token embedding stays frozen.

    Args:
        clip: the model, on the device to train on.
        tokenizer: of the model.
        schedule: how to train.
        normalise: of the images.
        generator: source of the pairs and of the choices of the value path; on the CPU.
        objects: patches that images and captions may hold.

    Yields:
        The loss of each step.
    """
    device = clip.positional_embedding.device
    clip.token_embedding.requires_grad_(False)
    trained = [parameter for parameter in clip.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=schedule.lr, betas=(0.9, 0.98), fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, schedule))
    dense = DenseImageEncoder(visual=clip.visual, grid=clip.visual.grid_size)
    target = torch.arange(schedule.batch_size, device=device)
    for images, tokens in _batches(clip, tokenizer, schedule, generator, objects):
        pixels = normalise(images.to(device))
        value_path = float(torch.rand((), generator=generator)) < schedule.value_path
        image_features = dense(pixels)[:, 1:].mean(dim=1) if value_path else clip.encode_image(pixels)
        text_features = F.normalize(clip.encode_text(tokens.to(device)), dim=-1)
        logits = clip.logit_scale.exp() * F.normalize(image_features, dim=-1) @ text_features.T
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        scheduler.step()
        clip.logit_scale.data.clamp_(0, MAX_LOGIT_SCALE)
        yield loss.item()


def _rate(step: int, schedule: Schedule) -> float:
    """Learning rate after `step` steps over the highest one."""
    warmup = max(1, round(schedule.warmup * schedule.steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(1, schedule.steps - warmup))


def _batches(
    clip: CLIP, tokenizer: Tokenizer, schedule: Schedule, generator: torch.Generator, objects: tuple[str, ...]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images, uint8 (N, 3, S, S), and tokens, int64 (N, L), of every step."""
    size = clip.visual.image_size[0]
    for start in range(0, schedule.steps, BATCHES_DRAWN_AT_ONCE):
        number = min(BATCHES_DRAWN_AT_ONCE, schedule.steps - start)
        pairs = make_pairs(number, schedule.batch_size, size=size, generator=generator, objects=objects)
        for images, captions in zip(pairs.images, pairs.captions, strict=True):
            yield images, tokenizer(captions)


@dataclass(frozen=True)
class Locality:
    """Localisation accuracy of dense features before any training on label maps.

    Attributes:
        told: share of pixels whose nearest name among those of all patches is right, 0..1, over the pixels of patches
            that the captions told of.
        held_out: the same, over the pixels of held-out patches, which the captions told of or not.
    """

    told: float
    held_out: float


@torch.no_grad()
def measure_locality(
    clip: CLIP,
    text_encoder: TextEncoder,
    *,
    normalise: PixelNorm,
    told: tuple[str, ...] = OBJECTS,
    images: int = 400,
    size: int = 64,
    seed: int = 20_000,
) -> Locality:
    """Name every pixel of newly drawn scenes by the text nearest to its dense feature, and compare with the label maps.

    Args:
        clip: the model.
        text_encoder: of the model.
        normalise: of the images.
        told: names of the patches that the captions of the training told of.
        images: how many scenes.
        size: side of the images, in pixels: a multiple of the model's patches.
        seed: of the scenes.
    """
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.tensor(class_numbers(OBJECTS))
    weights = share(numbers.tolist()).expand(images, -1)
    scenes = sample_scenes(weights, share(class_numbers(BACKGROUNDS)).expand(images, -1), generator)
    pixels, labels = draw_scenes(scenes, size=size, generator=generator)
    grid = (size // clip.visual.patch_size[0], size // clip.visual.patch_size[1])
    dense = DenseImageEncoder(visual=clip.visual, grid=grid)
    text = F.normalize(text_encoder.encode(Vocabulary(OBJECTS)).mean(dim=1), dim=-1)
    nearest = [_nearest_text(dense(normalise(part.to(text.device)))[:, 1:], text) for part in pixels.split(100)]
    tokens = numbers[torch.cat(nearest).cpu()].unflatten(1, grid).float()
    predicted = F.interpolate(tokens[:, None], size=(size, size), mode="nearest")[:, 0].long()
    on_patch = torch.isin(labels, numbers)
    truth, right = labels[on_patch], labels[on_patch] == predicted[on_patch]
    told_pixels, held_out_pixels = (torch.isin(truth, torch.tensor(class_numbers(n))) for n in (told, HELD_OUT_OBJECTS))
    return Locality(
        told=right[told_pixels].float().mean().item(), held_out=right[held_out_pixels].float().mean().item()
    )


def _nearest_text(features: Tensor, text: Tensor) -> Tensor:
    """Index of the nearest of (T, C) normalised texts for each of (N, H * W, C) features: (N, H * W)."""
    return (features @ text.T).argmax(dim=-1)
