"""Scoring beside the network: while it works on the next image, the last one's prediction is scored."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from detectron2.evaluation import DatasetEvaluator


class OverlappedEvaluator(DatasetEvaluator):
    """Runs another evaluator in a thread of its own, one batch at a time and in order.

    An error of the other evaluator's `process` is raised by the next call of this one.

    Args:
        evaluator: what scores.
    """

    def __init__(self, evaluator: DatasetEvaluator) -> None:
        self._evaluator = evaluator
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scoring")
        self._pending: Future[None] | None = None

    def reset(self) -> None:
        """Forget all images."""
        self._wait()
        self._evaluator.reset()

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Start to score a batch, once the one before is done. Arguments as the other evaluator's."""
        self._wait()
        self._pending = self._thread.submit(self._evaluator.process, inputs, outputs)

    def evaluate(self) -> Any:
        """Return what the other evaluator finds, once all batches are scored."""
        self._wait()
        return self._evaluator.evaluate()

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
