import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from detectron2.evaluation import DatasetEvaluator

from catseg.evaluation.overlapped import OverlappedEvaluator


class Collector(DatasetEvaluator):
    """Keeps what it is given, once it is allowed to."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.allowed = threading.Event()

    def reset(self) -> None:
        self.seen = []

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        assert self.allowed.wait(timeout=30)
        if outputs[0]["labels"] < 0:
            raise ValueError("negative labels")
        self.seen.append((inputs[0]["file_name"], outputs[0]["labels"], threading.current_thread().name))

    def evaluate(self) -> list[Any]:
        return self.seen


def test_the_caller_goes_on_while_a_batch_is_scored() -> None:
    collector = Collector()
    evaluator = OverlappedEvaluator(collector)
    evaluator.reset()
    evaluator.process([{"file_name": "a"}], [{"labels": 1}])  # returns although scoring may not even start
    assert collector.seen == []
    collector.allowed.set()
    evaluator.process([{"file_name": "b"}], [{"labels": 2}])
    found = evaluator.evaluate()
    assert [(name, labels) for name, labels, _ in found] == [("a", 1), ("b", 2)]
    assert all(thread.startswith("scoring") for *_, thread in found)
    evaluator.reset()
    assert evaluator.evaluate() == []


def test_an_error_is_raised_by_the_next_call() -> None:
    collector = Collector()
    collector.allowed.set()
    evaluator = OverlappedEvaluator(collector)
    evaluator.process([{"file_name": "a"}], [{"labels": -1}])
    with pytest.raises(ValueError, match="negative labels"):
        evaluator.evaluate()
    evaluator.reset()
    evaluator.process([{"file_name": "b"}], [{"labels": 3}])
    assert [labels for _, labels, _ in evaluator.evaluate()] == [3]
