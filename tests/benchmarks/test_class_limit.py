"""The benchmark of a limit on the classes, on a tiny network."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.class_limit import main
from benchmarks.evaluation_loop import DATASET, write_dataset
from catseg.data.registration import register_datasets

OPTIONS = ["DATALOADER.NUM_WORKERS", "0", "INPUT.FORMAT", "RGB", "DATASETS.TEST", f"('{DATASET}',)"]


@pytest.fixture(autouse=True)
def data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write_dataset(tmp_path, 2)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    yield
    monkeypatch.undo()
    register_datasets()


def test_the_smaller_the_limit_the_lower_the_agreement(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["--limits", "1", "150", "--images", "1"]
    main(["--config", tiny, *limits, "--threads", "1", "--rounds", "1", "--json", "--opts", *OPTIONS])
    found = json.loads(capsys.readouterr().out)["measures"]
    assert list(found) == ["all", "1", "150"]
    assert found["all"]["agreement"] == found["150"]["agreement"] == 1.0
    assert found["1"]["agreement"] < 1.0
    assert all(figures["units"] > 0 for figures in found.values())


def test_an_unknown_config_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--config", "missing.yaml"])
    assert "missing.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("names", ["('nope',)", "()"])
def test_a_data_set_that_is_none_is_an_error(tiny: str, names: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--config", tiny, "--opts", "DATASETS.TEST", names])
    assert "DATASETS.TEST must name a data set" in capsys.readouterr().err
