"""How quickly the web app answers again about the same image, as ratios to its first answer.

    python benchmarks/app.py                # the model of `catseg demo`; --model takes what catseg.load takes

Each round is a process of its own, with the model loaded and no name ever read, so that the first answer is the one
somebody gets who opens the app. An answer ends with the pictures as they are sent to the page; transfer and browser
take no part. "another image" tells what a first answer takes once the names of the training were read.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.harness import in_fresh_process
from catseg.app.drawing import jpeg_url, mask_url
from catseg.app.examples import Example, drawn_examples
from catseg.app.limits import Limits
from catseg.app.photos import read_photo
from catseg.app.service import OWN_WORDS, Ask, Service
from catseg.app.sessions import Session
from catseg.app.shelf import Shelf
from catseg.app.views import Look, View, view
from catseg.arguments import positive

FIRST, ANOTHER = "first answer", "another image"
_OTHER_WORDS = "red striped patch, snow, bricks"


class Caller:
    """Somebody who asks about one image after the other."""

    def __init__(self, model: str) -> None:
        shelf = Shelf([model], device="cpu")
        shelf.load_default()
        self._service = Service(shelf, Limits())
        self._model = shelf.default_model
        self._session = Session()

    def give(self, example: Example) -> None:
        """Give an image."""
        self._session.show(read_photo(example.content, example.name, self._service.limits))

    def ask(self, words: str) -> None:
        """Ask, and get everything that is shown."""
        for _ in self._service.segment(self._session, Ask(words, OWN_WORDS, self._model, "cpu")):
            pass
        seen = view(self._session, Look(0.5, 0.5))
        _send_drawings(seen)
        jpeg_url(seen.confidence())
        jpeg_url(seen.probability(seen.result.names[0]))

    def change_threshold(self) -> None:
        """Move the threshold."""
        _send_drawings(view(self._session, Look(0.4, 0.5)))

    def change_colours(self) -> None:
        """Move the opacity."""
        for image in view(self._session, Look(0.5, 0.8)).comparison():
            jpeg_url(image)


def _send_drawings(seen: View) -> None:
    for image in seen.comparison():
        jpeg_url(image)
    image, regions = seen.regions()
    jpeg_url(image)
    for region in regions:
        mask_url(region)
    seen.table()


def measure(model: str) -> dict[str, float]:
    """Time every kind of answer once, in seconds; to be called in a fresh process."""
    os.environ["CATSEG_TEXT_CACHE_MIB"] = "0"  # names that an earlier process read are new here
    torch.set_num_threads(1)
    caller = Caller(model)
    first, second, _ = drawn_examples()

    def begin(example: Example) -> None:
        caller.give(example)
        caller.ask(example.words)

    return {
        FIRST: _seconds(lambda: begin(first)),
        "other words": _seconds(lambda: caller.ask(_OTHER_WORDS)),
        "known words": _seconds(lambda: caller.ask(first.words)),
        "threshold": _seconds(caller.change_threshold),
        "colours": _seconds(caller.change_colours),
        ANOTHER: _seconds(lambda: begin(second)),
    }


def _seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shapes", help="default: %(default)s")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="processes (default: %(default)s)")
    args = parser.parse_args()
    rounds = [in_fresh_process(measure, args.model) for _ in range(args.rounds)]
    sys.stdout.write(f"{'':16}{'seconds':>9}{'of the first':>14}\n")
    for name in rounds[0]:
        seconds = statistics.median(found[name] for found in rounds)
        ratio = statistics.median(found[name] / found[FIRST] for found in rounds)
        sys.stdout.write(f"{name:16}{seconds:9.3f}{ratio:14.2f}\n")


if __name__ == "__main__":
    main()
