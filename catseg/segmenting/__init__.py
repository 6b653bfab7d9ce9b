"""Segmentation of many images from the command line: which ones, one after another, and the files that come of it."""
