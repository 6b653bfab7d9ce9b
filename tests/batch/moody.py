"""A network that ends its process at some images, for the tests of engines; and a run of them as a command.

python tests/batch/moody.py ENGINE IMAGES OUTPUT LOG SECONDS
"""

import json
import os
import signal
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from catseg.batch import segment_dataset
from catseg.batch.manifest import MANIFEST, rows_of
from tests.fake_module import LeftAndRight, fake_model


class Moody(LeftAndRight):
    """Writes down which process works on which image, takes its time, and is killed by images named `killer`."""

    def __init__(self, log, seconds=0.0):
        super().__init__()
        self.log, self.seconds = str(log), seconds

    def image_logits(self, batched_inputs):
        for item in batched_inputs:
            name = Path(item.get("file_name", "?")).name
            with Path(self.log, str(os.getpid())).open("a") as file:
                file.write(f"{name}\n")
            if name.startswith("killer"):
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds)
        return super().image_logits(batched_inputs)


def moody_model(log, seconds=0.0):
    Path(log).mkdir(exist_ok=True)
    return fake_model(Moody(log, seconds))


def worked_on(log):
    """From process to the images that it worked on."""
    return {int(path.name): path.read_text().split() for path in Path(log).iterdir()}


def manifest_rows(storage):
    """The rows of the merged manifest in an output folder; none if there is no such file."""
    if not storage.exists(MANIFEST):
        return []
    with storage.open(MANIFEST) as file:
        return rows_of(pq.read_table(file))


def write_images(folder, number, size=(12, 16)):
    """Different images, of which each has at least one pixel that is not black."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for index in range(number):
        pixels = generator.integers(1, 255, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:04d}.png")
    return folder


def main(engine, images, output, log, seconds):
    torch.set_num_threads(1)
    model = moody_model(log, float(seconds))
    with redirect_stdout(sys.stderr):  # where Ray writes of what it does
        done = segment_dataset(images, ["sofa", "cat"], output, model=model, engine=engine, workers=2)
    sys.stdout.write(json.dumps({"done": done.done, "skipped": done.skipped, "errors": done.errors}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
