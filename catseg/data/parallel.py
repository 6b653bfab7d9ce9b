"""Work on many files in several processes."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEMS_PER_CHUNK = 8  # that a process is given at a time
_FEW = 64  # items that one process does before others have started


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int, title: str
) -> Iterator[Result]:
    """Call a function for each item in several processes, or in this one for few items, with a progress bar.

    Args:
        function: is pickled, and so are the items.
        items: what to call it with.
        workers: number of processes.
        title: of the progress bar.

    Yields:
        The results, in the order of the items.

    Raises:
        BrokenProcessPool: if a process died.
        Exception: whatever the function raises; items that did not begin are left.
    """
    if workers <= 1 or len(items) <= _FEW:
        yield from tqdm(map(function, items), total=len(items), unit="image", desc=title, mininterval=1, disable=None)
        return
    with ProcessPoolExecutor(workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            results = pool.map(function, items, chunksize=_ITEMS_PER_CHUNK)
            yield from tqdm(results, total=len(items), unit="image", desc=title, mininterval=1, disable=None)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
