"""Shared parts of the benchmarks: calibration of the machine, fair timing and memory peaks; see also `reports`.

Machines differ and are shared with other work. So times come with that of a fixed matrix product, alternatives are
timed in turn rather than one after the other, and each time comes with its spread.
"""

import ctypes
import gc
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

CALIBRATION_SIDE = 2048
_CLEAR_PEAK = Path("/proc/self/clear_refs")  # Linux: writing 5 sets the peak of resident memory to its present value
_STATUS = Path("/proc/self/status")

Call = Callable[[], object]
Clock = Callable[[], float]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Timing:
    """Seconds of the single runs, in order."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Half of the runs took no longer."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """First and third quartile."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return first, third

    def __str__(self) -> str:
        """Milliseconds: the median, and the quartiles in brackets."""
        low, high = self.spread
        return f"{1e3 * self.median:.0f} [{1e3 * low:.0f}, {1e3 * high:.0f}]"


@dataclass(frozen=True)
class CalibratedTiming(Timing):
    """Single runs, also in units.

    Attributes:
        units: the runs in products of `calibrate`, taken before and after each. Where one thread computes, both are
            told in processor time, so that other work on the machine hardly counts.
    """

    units: Timing


def calibrate(runs: int = 5, clock: Clock = time.perf_counter) -> float:
    """Median milliseconds of a product of two matrices of 2048 x 2048, in float32 on the CPU."""
    left, right = (torch.rand(CALIBRATION_SIDE, CALIBRATION_SIDE) for _ in range(2))
    return 1e3 * time_in_turn({"product": lambda: left @ right}, rounds=runs, clock=clock)["product"].median


def machine() -> dict[str, Any]:
    """Processor, threads, and the versions that matter."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def time_in_turn(
    calls: Mapping[str, Call],
    *,
    rounds: int,
    warmup: int = 1,
    after_each: Call = lambda: None,
    clock: Clock = time.perf_counter,
) -> dict[str, Timing]:
    """Time alternatives side by side.

    Args:
        calls: name to what is timed.
        rounds: how often each is called; every second round goes through them backwards.
        warmup: rounds before that, which are not counted.
        after_each: called after each call, outside the timed part.
        clock: gives seconds.

    Returns:
        Name to timing.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(-warmup, rounds):
        for name in list(calls) if i % 2 == 0 else reversed(list(calls)):
            start = clock()
            calls[name]()
            elapsed = clock() - start
            after_each()
            if i >= 0:
                seconds[name].append(elapsed)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def work_clock() -> Clock:
    """Return the clock: processor time if one thread computes, else wall-clock time."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def time_in_units(calls: Mapping[str, Call], *, rounds: int) -> dict[str, CalibratedTiming]:
    """Time alternatives side by side, each run between two calibrations; nothing is run before that.

    Args:
        calls: name to what is timed.
        rounds: how often each is called.

    Returns:
        Name to timing.
    """
    clock = work_clock()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    units: dict[str, list[float]] = {name: [] for name in calls}
    before = calibrate(clock=clock)
    for _ in range(rounds):
        for name, call in calls.items():
            start, start_work = time.perf_counter(), clock()
            call()
            work = clock() - start_work
            seconds[name].append(time.perf_counter() - start)
            after = calibrate(clock=clock)
            units[name].append(1e3 * work / ((before + after) / 2))
            before = after
    return {name: CalibratedTiming(tuple(seconds[name]), Timing(tuple(units[name]))) for name in calls}


def ratio(ours: Timing, theirs: Timing) -> float:
    """Median over the rounds of our time over theirs: below 1 we are faster. A passing load shifts few rounds only."""
    return statistics.median(a / b for a, b in zip(ours.seconds, theirs.seconds, strict=True))


def peak_memory(call: Call) -> float | None:
    """By how many MiB the process grows at most during a call; None where the system cannot tell (not Linux)."""
    if not _CLEAR_PEAK.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else memory that was freed earlier would be taken again unseen
    _CLEAR_PEAK.write_text("5")
    before = _status("VmRSS")
    call()
    return max(_status("VmHWM") - before, 0) / 1024


def in_fresh_process(function: Callable[..., Result], *args: object) -> Result:
    """`function(*args)` in a process of its own, whose memory holds nothing of what ran here."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


class StageClock:
    """Adds up the time that is spent in chosen methods.

    Attributes:
        seconds: of each stage, by `work_clock`; what a stage spends inside another one is counted there too.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = work_clock()

    @contextmanager
    def watch(self, stages: dict[str, list[tuple[object, str]]]) -> Iterator[None]:
        """Count while inside.

        Args:
            stages: name to methods, each an object (or a class, for all of its instances) and an attribute of it.
        """
        watched = [(owner, name, stage) for stage, methods in stages.items() for owner, name in methods]
        replaced = [(owner, name, vars(owner).get(name)) for owner, name, _ in watched]
        for owner, name, stage in watched:
            setattr(owner, name, self.timed(stage, getattr(owner, name)))
        try:
            yield
        finally:
            for owner, name, before in replaced:
                if before is None:
                    delattr(owner, name)
                else:
                    setattr(owner, name, before)

    def timed(self, stage: str, method: Callable[..., Result]) -> Callable[..., Result]:
        """`method`, counted as a stage whenever it is called."""
        self.seconds.setdefault(stage, 0.0)

        def timed(*args: Any, **kwargs: Any) -> Result:
            start = self._clock()
            result = method(*args, **kwargs)
            self.seconds[stage] += self._clock() - start
            return result

        return timed


def _status(name: str) -> int:
    """A figure of this process in KiB."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
