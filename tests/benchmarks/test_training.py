"""The benchmark of a training step, on a tiny network."""

import json

import pytest

from benchmarks.training import main


def test_ours_and_plain_take_the_same_step(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(
        [
            "--config",
            tiny,
            "--batch",
            "2",
            "--classes",
            "3",
            "--threads",
            "1",
            "--plain",
            "--json",
            "--opts",
            "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT",
            "3.0",
        ]
    )
    found = json.loads(capsys.readouterr().out)
    assert found["units"] > 0
    assert found["peak_gib_above_model"] >= 0
    assert found["loss_difference"] < 1e-5
    assert found["gradient_difference"] < 1e-4
    assert found["measures"].keys() == {"ours", "plain"}


def test_the_table_has_a_row_per_network(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--config", tiny, "--batch", "1", "--classes", "2", "--opts", "MODEL.ACTIVATION_CHECKPOINTING", "True"])
    assert "| ours" in capsys.readouterr().out
