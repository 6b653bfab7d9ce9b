"""Which images end the processes that work on them.

A piece of work notes that it was begun. One that finds such a note was begun by a process that is gone; it then notes
each image before working on it, so that the next process knows which of them it was. The first attempt, which is nearly
always the only one, costs one small file for a whole piece.
"""

import json
from collections import Counter

from catseg.batch.storage import Storage

MOST_DEATHS = 2  # of processes, while they worked on one image
FOLDER = ".catseg/attempts"


class Attempts:
    """The notes of one piece of the work.

    Attributes:
        again: whether an earlier process began it and is gone.
    """

    def __init__(self, storage: Storage, piece: str) -> None:
        self._storage = storage
        self._file = f"{FOLDER}/{piece}.json"
        try:
            note = json.loads(storage.read(self._file))
        except FileNotFoundError:
            note = None
        self.again = note is not None
        self._deaths = Counter[str](note["deaths"] if note else {})
        if note and note["image"] is not None:
            self._deaths[note["image"]] += 1
        self.begin(None)

    def gives_up(self, image: str) -> bool:
        """Tell whether an image ended as many processes as may be."""
        return self._deaths[image] >= MOST_DEATHS

    def begin(self, image: str | None) -> None:
        """Note that work on an image begins; None for the whole piece.

        Raises:
            OSError: if it cannot be noted.
        """
        note = json.dumps({"image": image, "deaths": self._deaths})
        self._storage.write(self._file, note.encode())

    def end(self) -> None:
        """Forget the notes: the piece is done."""
        self._storage.remove(self._file)


def forget_all(storage: Storage) -> None:
    """Remove the notes that runs left which were cut short, once all of their work is done."""
    for name in storage.names(FOLDER):
        storage.remove(f"{FOLDER}/{name}")
