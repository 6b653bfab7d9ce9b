from pathlib import Path

import pytest

from catseg.arguments import file_path


def test_paths_may_start_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert file_path("~/results") == tmp_path / "results"
    assert file_path("results/~") == Path("results/~")
