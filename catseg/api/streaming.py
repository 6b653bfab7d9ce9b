"""Work on a stream of things while the next ones are being prepared, with bounded memory and in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(function: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int) -> Iterator[R]:
    """Map in threads, which work on the next items while the caller uses a result.

    Args:
        function: is called in a thread; what it raises is raised where its result would be yielded.
        items: is advanced in the caller's thread, at most `ahead` items beyond the result that is yielded.
        threads: number of threads; 0 calls `function` when its result is needed.
        ahead: number of items that are taken in advance, which bounds the memory.

    Yields:
        The results, in order.
    """
    if not threads:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="catseg")
    iterator = iter(items)
    waiting: deque[Future[R]] = deque()
    try:
        waiting.extend(pool.submit(function, item) for item in islice(iterator, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(iterator, 1))
            yield result
    finally:  # also where the caller stops early
        pool.shutdown(wait=True, cancel_futures=True)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items in order; the last one may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
