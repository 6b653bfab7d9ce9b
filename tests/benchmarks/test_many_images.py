"""The benchmark of the engines, on a tiny network and in this process."""

import json
import time

import pytest

pytest.importorskip("pyarrow", reason='pyarrow is not installed: pip install "catseg[batch]"')

from benchmarks.many_images import largest_memory, main
from catseg.batch.local_engine import LocalEngine
from catseg.batch.packed_model import unpack_model
from catseg.batch.worker import ImageWorker


def test_engines_stand_beside_the_loop(
    tiny: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(self, work, model, pieces):
        worker = ImageWorker(work, unpack_model(model, work.device))
        yield from map(worker.run, pieces)

    monkeypatch.setattr(LocalEngine, "run", run)
    monkeypatch.setenv("PYTHONPATH", "")
    words = ["--images", "3", "--workers", "1", "--engines", "local", "--threads", "1", "--json"]
    main(["--config", tiny, *words])
    found = json.loads(capsys.readouterr().out)["measures"]
    assert list(found) == ["plain loop", "local, 1 worker"]
    figures = found["local, 1 worker"]
    assert figures["overhead"] == pytest.approx(figures["milliseconds"] - found["plain loop"]["milliseconds"])
    assert figures["images_per_second"] > 0


def test_memory_of_this_process() -> None:
    with largest_memory() as found:
        block = bytearray(2**27)
        block[:: 2**12] = b"1" * len(block[:: 2**12])
        time.sleep(0.6)
    assert found["driver"] > 128
