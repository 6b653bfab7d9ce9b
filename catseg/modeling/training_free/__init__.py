"""Segmentation by CLIP as it is: the last block's attention is changed, nothing is trained."""
