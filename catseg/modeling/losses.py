"""The training loss."""

import torch.nn.functional as F
from torch import Tensor


def class_wise_bce(logits: Tensor, target: Tensor, *, ignore_label: int) -> Tensor:
    """Binary cross-entropy of every class against the one-hot target, averaged over pixels and classes.

    Ignored pixels count as belonging to no class, as in the published training. With z the logit and y the one-hot
    target, the loss of one entry is softplus(z) - y z, so the one-hot map is never built.

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
        raise ValueError(
            f"labels must be 0..{classes - 1} or {ignore_label} (ignored), got {int(index.min())}..{int(index.max())}; "
            "the training vocabulary and the labels do not belong together"
        )
    logits = F.interpolate(logits.float(), size=target.shape[-2:], mode="bilinear", align_corners=False)
    own = logits.gather(1, index.unsqueeze(1)).squeeze(1)
    return (F.softplus(logits).sum() - own[valid].sum()) / logits.numel()
