"""Commands: `python -m catseg.tools.NAME --help` tells what each does."""
