"""Confusion matrices and the scores that follow from them.

Shapes: T classes. A matrix counts pixels: row k holds those of class k in the ground truth, column k those that were
predicted to be k. Pixels without ground truth are counted nowhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseg.errors import InputError


def confusion_matrix(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], *, num_classes: int, ignore_label: int
) -> NDArray[np.int64]:
    """Count the pixels of each pair of true and predicted class.

    Args:
        truth: classes 0..T-1 or `ignore_label`, of any shape.
        predicted: classes 0..T-1, of the same shape.
        num_classes: number of classes T.
        ignore_label: value of pixels that do not count.

    Returns:
        Number of pixels, (T, T), true class by predicted class.

    Raises:
        ValueError: if the shapes differ or values are out of range.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"ground truth {truth.shape} and prediction {predicted.shape} differ in shape")
    counted = truth != ignore_label
    rows, columns = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
    for name, values in (("ground truth", rows), ("prediction", columns)):
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise ValueError(f"{name} has the values {values.min()}..{values.max()}, classes are 0..{num_classes - 1}")
    return np.bincount(num_classes * rows + columns, minlength=num_classes**2).reshape(num_classes, num_classes)


def scores(
    matrix: NDArray[np.integer], names: Sequence[str], groups: Mapping[str, Sequence[int]] | None = None
) -> dict[str, float]:
    """Compute all scores of a confusion matrix.

    Two definitions of the mean IoU are in use. Both take the union of a class over all labelled pixels. "mIoU" is the
    mean over the classes that occur in the ground truth, as in Detectron2's main branch and in published numbers.
    "mIoU_d2_0.6" is that of Detectron2's release 0.6: classes that do not occur but were predicted count too, with
    an IoU of 0, so it is never higher.

    Args:
        matrix: number of pixels, (T, T), true class by predicted class.
        names: T class names.
        groups: class indices by name of the group, for a mean IoU of these classes alone.

    Returns:
        Percentages, 0..100:
        - "mIoU", "mIoU_d2_0.6";
        - "fwIoU": mean IoU weighted by the classes' shares of the ground truth;
        - "mACC", "pACC": share of pixels predicted right, as a mean over the classes that occur, and of all pixels;
        - "mIoU-<group>": mean over the group's classes that occur in the ground truth, NaN if none does;
        - "IoU-<name>", "ACC-<name>": of one class, NaN if it does not occur in the ground truth.

    Raises:
        ValueError: if the matrix has another shape or counts no pixels.
    """
    if matrix.shape != (len(names), len(names)):
        raise ValueError(f"expected a confusion matrix of {len(names)} classes, got the shape {matrix.shape}")
    hits, true, union = _counts(matrix)
    occurs = true > 0
    if not occurs.any():
        raise InputError("no pixel of the evaluated images has a ground truth")
    iou = _share(hits, union, occurs)
    accuracy = _share(hits, true, occurs)
    values = {
        "mIoU": iou[occurs].mean(),
        "mIoU_d2_0.6": iou[occurs].sum() / np.count_nonzero(union),
        "fwIoU": (iou[occurs] * true[occurs]).sum() / true.sum(),
        "mACC": accuracy[occurs].mean(),
        "pACC": hits.sum() / true.sum(),
    }
    for group, members in (groups or {}).items():
        present = [index for index in members if occurs[index]]
        values[f"mIoU-{group}"] = iou[present].mean() if present else np.nan
    values |= {f"IoU-{name}": value for name, value in zip(names, iou, strict=True)}
    values |= {f"ACC-{name}": value for name, value in zip(names, accuracy, strict=True)}
    return {name: 100 * float(value) for name, value in values.items()}


def overall_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Leave out the metrics of single classes, `IoU-<class>` and `ACC-<class>`."""
    return {name: value for name, value in metrics.items() if not name.startswith(("IoU-", "ACC-"))}


def mean_iou(matrix: NDArray[np.integer]) -> float:
    """Return the mean IoU in percent over the classes that occur in the ground truth: "mIoU" of `scores`.

    Args:
        matrix: number of pixels, (T, T), true class by predicted class; it counts some.
    """
    hits, true, union = _counts(matrix)
    return 100 * float(np.mean(hits[true > 0] / union[true > 0]))


def describe_classes(matrix: NDArray[np.integer], names: Sequence[str]) -> list[dict[str, Any]]:
    """Describe the classes that occur in the ground truth, in their own order.

    Args:
        matrix: number of pixels, (T, T), true class by predicted class.
        names: T class names.

    Returns:
        `name`, `iou` and `accuracy` in percent, `pixels` in the ground truth and their `share` of all labelled ones,
        0..1, of each.
    """
    hits, true, union = _counts(matrix)
    return [
        {
            "name": names[index],
            "iou": 100 * float(hits[index] / union[index]),
            "accuracy": 100 * float(hits[index] / true[index]),
            "pixels": int(true[index]),
            "share": float(true[index] / true.sum()),
        }
        for index in np.flatnonzero(true).tolist()
    ]


def find_confusions(matrix: NDArray[np.integer], names: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """Find the pairs of classes of which most pixels of one are taken for the other.

    Args:
        matrix: number of pixels, (T, T), true class by predicted class.
        names: T class names.
        limit: how many to find at most.

    Returns:
        Names `truth` and `predicted`; `of_class`, share of the true class's pixels, and `of_errors`, share of all
        wrong pixels, 0..1. Those with most pixels come first.
    """
    wrong = _wrong(matrix)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    places = [divmod(int(place), len(names)) for place in order]
    return [
        {
            "truth": names[row],
            "predicted": names[column],
            "of_class": float(wrong[row, column] / matrix[row].sum()),
            "of_errors": float(wrong[row, column] / wrong.sum()),
        }
        for row, column in places
        if wrong[row, column]
    ]


def most_confused(matrix: NDArray[np.integer], limit: int) -> list[int]:
    """Find the classes with most wrong pixels, both those missed and those given in error.

    Args:
        matrix: number of pixels, (T, T), true class by predicted class.
        limit: how many to find at most.

    Returns:
        Class indices, most wrong pixels first; no class without any.
    """
    wrong = _wrong(matrix)
    pixels = wrong.sum(axis=0) + wrong.sum(axis=1)
    order = np.argsort(-pixels, kind="stable")[:limit]
    return [int(index) for index in order if pixels[index]]


def _counts(matrix: NDArray[np.integer]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return, per class, the pixels predicted right, those of the ground truth, and those of either."""
    hits = matrix.diagonal().astype(np.float64)
    true, predicted = matrix.sum(axis=1).astype(np.float64), matrix.sum(axis=0).astype(np.float64)
    return hits, true, true + predicted - hits


def _share(part: NDArray[np.float64], whole: NDArray[np.float64], occurs: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=occurs)


def _wrong(matrix: NDArray[np.integer]) -> NDArray[np.integer]:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    return wrong
