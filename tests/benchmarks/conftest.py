"""A tiny network as a config file, for benchmarks that build their own."""

from pathlib import Path

import pytest

from tests.tiny import tiny_config


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a config file; calibration is quick too, and no processes are started."""
    monkeypatch.setattr("benchmarks.harness.CALIBRATION_SIDE", 64)
    for module in ("inference", "text", "training"):
        monkeypatch.setattr(f"benchmarks.{module}.in_fresh_process", lambda function, *args: function(*args))
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_config(tmp_path).dump())
    return str(file)
