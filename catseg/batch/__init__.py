"""Segmentation of very many images, by processes of this machine or by Ray, with a manifest instead of a page."""

from catseg.batch.dataset import DatasetSummary, segment_dataset

__all__ = ["DatasetSummary", "segment_dataset"]
