"""The endless stream of training samples, and the randomness that goes with it.

Every sample has a position in the stream. Which record it is, and how it is augmented, depends on the run's seed and
that position alone: not on the number of processes or data loader workers, nor on where the run was last resumed.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from detectron2.utils.serialize import PicklableWrapper
from torch.utils.data import Dataset, IterableDataset, get_worker_info


def seed_random_generators(*entropy: int) -> None:
    """Seed Python's, NumPy's and torch's generators with a mix of non-negative integers.

    Each combination of integers gives unrelated streams of numbers, unlike a sum of them.
    """
    words = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))  # noqa: NPY002 Detectron2's augmentations draw from the global generator
    torch.manual_seed(int(words[2]))


class TrainingStream(IterableDataset):
    """Shuffled passes over the records, one after another, each record mapped to what the model takes.

    Of each total batch (`batch_size * world_size` neighbours in the stream), this process gets its own part, so that
    any number of processes sees the same total batches.

    Args:
        records: indexable records.
        mapper: makes a sample of a record; may draw from Python's, NumPy's and torch's global generators.
        seed: of the order and the augmentation; the same in all processes.
        batch_size: samples per batch of one process.
        rank: this process, 0..world_size-1.
        world_size: number of processes.

    Attributes:
        position: how many samples all processes together have consumed; iteration starts there.
        seed: as given, or as loaded by `load_state_dict`.
    """

    def __init__(
        self,
        *,
        records: Dataset,
        mapper: Callable[[Any], Any],
        seed: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.seed = seed
        self.position = 0
        self._records = records
        self._size = len(records)  # type: ignore[arg-type]
        self._mapper = PicklableWrapper(mapper)  # workers that are not forked get it by pickling
        self._batch_size = batch_size
        self._rank = rank
        self._world_size = world_size
        self._order: tuple[int, list[int]] = (-1, [])

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        worker_id, num_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        return self._samples(start=self.position, worker_id=worker_id, num_workers=num_workers)

    def sample(self, position: int) -> Any:
        """Make the sample at a position of the stream, anew and always the same. Seeds the global generators."""
        epoch, offset = divmod(position, self._size)
        if self._order[0] != epoch:
            words = np.random.SeedSequence((self.seed, 0, epoch)).generate_state(1)
            generator = torch.Generator().manual_seed(int(words[0]))
            self._order = (epoch, torch.randperm(self._size, generator=generator).tolist())
        seed_random_generators(self.seed, 1, position)
        return self._mapper(self._records[self._order[1][offset]])

    def seed_step(self) -> None:
        """Seed the global generators for the network's own randomness on the batch at `position`."""
        seed_random_generators(self.seed, 2, self.position, self._rank)

    def advance(self) -> None:
        """Count one batch of every process as consumed."""
        self.position += self._batch_size * self._world_size

    def state_dict(self) -> dict[str, int]:
        """Return what a later run needs to go on with the same samples."""
        return {"seed": self.seed, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken; to be called before iteration starts."""
        self.seed, self.position = state["seed"], state["position"]

    def _samples(self, *, start: int, worker_id: int, num_workers: int) -> Iterator[Any]:
        total_batch = self._batch_size * self._world_size
        # torch takes batches from its workers in turn: worker w makes batches w, w + num_workers, ...
        first = start + worker_id * total_batch + self._rank * self._batch_size
        while True:
            for position in range(first, first + self._batch_size):
                yield self.sample(position)
            first += num_workers * total_batch
