"""What the benchmarks share: a measure of the machine, fair timing, memory peaks, and reports.

Machines differ and are shared with other work. So a report says how long a fixed matrix product took before and after,
alternatives are timed in turn rather than one after the other, and each time comes with its spread.
"""

import ctypes
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from catseg.files import atomic_path

CALIBRATION_SIDE = 2048
_CLEAR_PEAK = Path("/proc/self/clear_refs")  # Linux: writing 5 sets the peak of resident memory to its present value
_STATUS = Path("/proc/self/status")

Call = Callable[[], object]


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
class Report:
    """What a benchmark found.

    Attributes:
        title: what was compared.
        settings: how.
        machine: on what, as `machine()` says.
        calibration: milliseconds of the matrix product of `calibrate()`, before and after.
        rows: what is in the table, a dictionary per line.
        raw: every single run, in any form that JSON knows.
    """

    title: str
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    calibration: tuple[float, float]
    rows: Sequence[Mapping[str, str]]
    raw: Any

    def markdown(self) -> str:
        """The report as text; `raw` is left out."""
        before, after = self.calibration
        described = {**self.settings, **self.machine}
        side = CALIBRATION_SIDE
        return "\n".join(
            [
                f"# {self.title}",
                "",
                ", ".join(f"{name} {value}" for name, value in described.items()),
                f"Product of two {side} x {side} float32 matrices: {before:.0f} ms before, {after:.0f} ms after",
                "",
                tabulate(self.rows, headers="keys", tablefmt="pipe", disable_numparse=True),
                "",
            ]
        )

    def write(self, path: Path | None) -> None:
        """Print the report, and write all of it as JSON if there is a path."""
        sys.stdout.write(self.markdown())
        if path is not None:
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def calibrate(runs: int = 5) -> float:
    """Median milliseconds of a product of two matrices of 2048 x 2048, in float32 on the CPU."""
    left, right = (torch.rand(CALIBRATION_SIDE, CALIBRATION_SIDE) for _ in range(2))
    return 1e3 * time_in_turn({"product": lambda: left @ right}, rounds=runs)["product"].median


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
    calls: dict[str, Call], *, rounds: int, warmup: int = 1, after_each: Call = lambda: None
) -> dict[str, Timing]:
    """Time alternatives side by side.

    Args:
        calls: name to what is timed.
        rounds: how often each is called; every second round goes through them backwards.
        warmup: rounds before that, which are not counted.
        after_each: called after each call, outside the timed part.

    Returns:
        Name to timing.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(-warmup, rounds):
        for name in list(calls) if i % 2 == 0 else reversed(calls):
            start = time.perf_counter()
            calls[name]()
            elapsed = time.perf_counter() - start
            after_each()
            if i >= 0:
                seconds[name].append(elapsed)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


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


def _status(name: str) -> int:
    """A figure of this process in KiB."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
