"""`python -m catseg`: the same as the command `catseg`."""

import sys

from catseg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
