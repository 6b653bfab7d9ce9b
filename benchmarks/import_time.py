"""How long imports take, as ratios to `import torch, torchvision` in the same run.

    python benchmarks/import_time.py

Each import is timed in processes of its own, one after another, and the quickest of each counts.
"""

import argparse
import subprocess
import sys
import time

BASE = "import torch, torchvision"
STATEMENTS = {
    "import catseg": "import catseg",
    "what inference needs": "import catseg.inference",
    "catseg --help": "import sys; sys.argv = ['catseg', '--help']; from catseg.cli.main import main; main()",
}


def seconds(statement: str, rounds: int) -> float:
    """Return the shortest time that a Python process takes for a statement, less that of an empty one."""
    return max(0.001, min(_once(statement) for _ in range(rounds)) - min(_once("pass") for _ in range(rounds)))


def _once(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="processes for each import (default: %(default)s)")
    rounds = parser.parse_args().rounds
    base = seconds(BASE, rounds)
    sys.stdout.write(f"{BASE:28} {base:6.2f} s\n")
    for name, statement in STATEMENTS.items():
        taken = seconds(statement, rounds)
        sys.stdout.write(f"{name:28} {taken:6.2f} s   {taken / base:5.2f} of it\n")


if __name__ == "__main__":
    main()
