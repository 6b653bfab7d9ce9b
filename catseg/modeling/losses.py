"""The training loss."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from catseg.errors import InputError
from catseg.modeling.layers.checkpointing import checkpointed

CLASSES_PER_CHUNK = 16  # resized to the target, the maps of all classes would be the largest tensors of a step


def class_wise_bce(logits: Tensor, target: Tensor, *, ignore_label: int) -> Tensor:
    """Binary cross-entropy of every class against the one-hot target, averaged over pixels and classes.

    Ignored pixels have an all-zero target, as in the published training. Logits are resized to the target for a few
    classes at a time, and again in the backward pass, to save memory.

    Args:
        logits: `(B, T, h, w)`; resized bilinearly to the target.
        target: class numbers `(B, H, W)`, int64: 0..T-1 or `ignore_label`.
        ignore_label: marks pixels without a class.

    Returns:
        A scalar.

    Raises:
        ValueError: if the target holds a number that is neither a class nor `ignore_label`.
    """
    classes = logits.shape[1]
    valid = target != ignore_label
    index = target.where(valid, target.new_zeros(()))
    if int(index.max()) >= classes or int(index.min()) < 0:
        raise InputError(
            f"labels must be 0..{classes - 1} or {ignore_label} (ignored), got {int(index.min())}..{int(index.max())}; "
            "the training vocabulary and the labels do not belong together"
        )
    numbers = torch.arange(classes, device=target.device).view(1, -1, 1, 1)
    labels = index.where(valid, index.new_full((), -1)).unsqueeze(1)
    pieces = zip(logits.split(CLASSES_PER_CHUNK, dim=1), numbers.split(CLASSES_PER_CHUNK, dim=1), strict=True)
    losses = [checkpointed(partial(_summed_bce, labels, some), piece) for piece, some in pieces]
    return torch.stack(losses).sum() / (target.numel() * classes)


def _summed_bce(labels: Tensor, numbers: Tensor, logits: Tensor) -> Tensor:
    """Sum the loss of the classes `numbers` over the pixels of `labels` `(B, 1, H, W)`."""
    logits = F.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    return F.binary_cross_entropy_with_logits(logits, (labels == numbers).to(logits.dtype), reduction="sum")
