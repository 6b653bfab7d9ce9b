"""The benchmark of an evaluation, on a tiny network."""

import json
from collections.abc import Iterator

import pytest

from benchmarks.evaluation_loop import main
from catseg.data.registration import register_datasets

OPTIONS = ["DATALOADER.NUM_WORKERS", "0", "INPUT.FORMAT", "RGB"]


@pytest.fixture(autouse=True)
def registered_where_they_were() -> Iterator[None]:
    """Undo what the benchmark does to the registered data sets."""
    yield
    register_datasets()


def test_the_network_is_part_of_an_evaluation(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--config", tiny, "--images", "2", "--threads", "1", "--rounds", "1", "--json", "--opts", *OPTIONS])
    found = json.loads(capsys.readouterr().out)
    assert found["ratio"] == pytest.approx(found["evaluation_seconds"] / found["network_seconds"])
    assert found["network_seconds"] > 0


def test_an_unknown_config_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--config", "missing.yaml", "--images", "1"])
    assert "missing.yaml" in capsys.readouterr().err
