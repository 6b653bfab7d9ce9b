"""Evaluates models on benchmarks, beside the published numbers: `python -m catseg.benchmark --help`."""
