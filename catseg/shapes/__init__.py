"""The generated data set `shapes` and the run on it that needs no downloads: `python -m catseg.shapes.demo --help`."""
