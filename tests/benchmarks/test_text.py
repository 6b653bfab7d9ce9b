"""The benchmark of text encoding, on a tiny network."""

import json

import pytest

from benchmarks.text import main


def test_cold_cached_and_plain(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--classes", "3", "--dtype", "float32", "bfloat16", "--plain", "--plain-prompts", "2", "--threads", "1"]
    main(["--config", tiny, *words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert list(found["raw"]) == ["cold, float32", "cold, bfloat16", "cached", "plain"]
    assert found["units"] > 0
    assert found["peak_gib_above_model"] >= 0
    assert found["difference_from_plain"] < 1e-5
    assert found["raw"]["cold, bfloat16"]["least_cosine_to_float32"] > 0.99
    assert found["raw"]["plain"]["prompts_timed"] == 2


def test_unknown_vocabularies_end_the_command(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--config", tiny, "--vocabulary", "absent.json"])
    assert "absent.json" in capsys.readouterr().err
