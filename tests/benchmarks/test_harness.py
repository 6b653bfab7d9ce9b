"""Timing and memory peaks of the benchmarks."""

import itertools
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import harness
from benchmarks.harness import (
    StageClock,
    Timing,
    calibrate,
    in_fresh_process,
    machine,
    peak_memory,
    ratio,
    time_in_turn,
    time_in_units,
)


def test_median_and_quartiles() -> None:
    timing = Timing((0.005, 0.001, 0.003, 0.002, 0.004))
    assert timing.median == 0.003
    assert timing.spread == (0.002, 0.004)
    assert str(timing) == "3 [2, 4]"
    assert Timing((0.5,)).spread == (0.5, 0.5)


def test_alternatives_take_turns_and_swap_places() -> None:
    calls: list[str] = []
    timings = time_in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3, warmup=1)
    assert calls == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert [len(timing.seconds) for timing in timings.values()] == [3, 3]


def test_times_the_call_alone() -> None:
    timings = time_in_turn({"sleep": lambda: time.sleep(0.02)}, rounds=2, after_each=lambda: time.sleep(0.2))
    assert all(0.02 <= seconds < 0.2 for seconds in timings["sleep"].seconds)


def test_ratio_is_taken_round_by_round() -> None:
    """A round in which the machine was busy counts no more than any other."""
    assert ratio(Timing((1.0, 10.0, 1.0)), Timing((2.0, 20.0, 2.0))) == 0.5
    assert ratio(Timing((1.0, 8.0, 1.0)), Timing((2.0, 2.0, 2.0))) == 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_peak_memory_is_that_of_the_call() -> None:
    torch.ones(40, 1024, 1024)  # 160 MiB, freed before
    peak = peak_memory(lambda: torch.ones(16, 1024, 1024) + 1)  # two tensors of 64 MiB at a time
    assert 120 < peak < 150
    assert peak_memory(lambda: None) < 8


def test_no_peak_where_the_system_cannot_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(harness, "_CLEAR_PEAK", tmp_path / "absent")
    assert peak_memory(lambda: None) is None


def test_calibration_is_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "CALIBRATION_SIDE", 64)
    assert 0 < calibrate(runs=1) < 1000


def test_machine_names_what_matters() -> None:
    assert machine()["threads"] == torch.get_num_threads()
    assert machine()["torch"] == torch.__version__
    assert machine()["processor"]


def double(number: int) -> int:
    return 2 * number


def test_units_are_relative_to_the_calibration_around_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    milliseconds, ticks = iter([100.0, 300.0, 200.0]), itertools.count(0, 2)
    monkeypatch.setattr(harness, "calibrate", lambda clock: next(milliseconds))
    monkeypatch.setattr(harness.time, "process_time", lambda: next(ticks))  # one thread: what it computed for counts
    assert time_in_units({"nothing": lambda: None}, rounds=2)["nothing"].units.seconds == (10, 8)


def test_a_fresh_process_gives_the_result() -> None:
    assert in_fresh_process(double, 21) == 42


class Work:
    def first(self) -> str:
        time.sleep(0.02)
        return self.second()

    def second(self) -> str:
        time.sleep(0.03)
        return "done"


def test_stages_are_timed_while_watched_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "work_clock", lambda: time.perf_counter)  # sleeping is no processor time
    work, clock = Work(), StageClock()
    with clock.watch({"all": [(work, "first")], "part": [(Work, "second")]}):
        assert work.first() == "done"
        assert Work().second() == "done"
    assert clock.seconds["all"] >= 0.05
    assert clock.seconds["part"] >= 0.06
    before = dict(clock.seconds)
    work.first()
    assert clock.seconds == before
    assert vars(work) == {}
