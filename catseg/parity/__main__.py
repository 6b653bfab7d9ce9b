"""Check this implementation against reference cases: see `catseg.parity.check`."""

import sys

from catseg.parity.check import main

sys.exit(main())
