"""Segmentation of very many images, by processes of this machine or by Ray, with a manifest instead of a page.

    from catseg.batch import segment_dataset

    segment_dataset("s3://bucket/photos", ["sofa", "cat"], "s3://bucket/found", engine="ray", workers=16)

Its optional packages are looked for when it is first used.
"""

from typing import TYPE_CHECKING, Any

from catseg.batch.extras import optional_module

if TYPE_CHECKING:
    from catseg.batch.dataset import DatasetSummary, segment_dataset

__all__ = ["DatasetSummary", "segment_dataset"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for needed in ("fsspec", "pyarrow"):
        optional_module(needed, extra="batch", what="segmenting a data set")
    from catseg.batch import dataset

    return getattr(dataset, name)
