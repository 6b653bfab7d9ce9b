import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from catseg.checkpoint.files import read_checkpoint
from catseg.checkpoint.sources import PUBLISHED
from catseg.tools import weights
from tests.checkpoint.test_hub import torch_file
from tests.hub import COMMITS, LocalHub, use_hub


def publish(hub, name, value=1.0):
    source = PUBLISHED[name].source
    prefix = "" if source.kind == "model" else f"{source.kind}s/"
    hub.add(prefix + source.repo, source.file, torch_file({"model": {"a": torch.full((3,), value)}}))


def test_list_shows_every_model_and_what_is_here(tmp_path, monkeypatch, capsys):
    with LocalHub().running() as hub:
        use_hub(monkeypatch, hub.endpoint, tmp_path / "hub")
        publish(hub, "v2-base")
        assert weights.main(["fetch", "v2-base"]) == 0
    path = capsys.readouterr().out.strip()
    assert read_checkpoint(Path(path))["model"].keys() == {"a"}
    assert weights.main(["list"]) == 0
    lines = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[1:]}
    assert lines.keys() == {f"catseg://{name}" for name in PUBLISHED}
    assert lines["catseg://v1-huge"] == [
        "configs/catseg_v1_huge.yaml",
        "hf://hamacojr/CAT-Seg/model_final_huge.pth",
        "no",
    ]
    assert lines["catseg://v2-base"][-1] == COMMITS["main"]


def test_fetch_goes_on_after_a_failure_and_can_renew(tmp_path, monkeypatch, capsys):
    with LocalHub().running() as hub:
        use_hub(monkeypatch, hub.endpoint, tmp_path / "hub")
        publish(hub, "v1-large")
        assert weights.main(["fetch", "v1-base", "v3", "model.pth://x", "v1-large"]) == 1
        done = capsys.readouterr()
        assert "model_final_base.pth" in done.err
        assert "no published model is called catseg://v3" in done.err
        assert "is no file on the Hugging Face hub" in done.err
        hub.refs["main"] = COMMITS["next"]
        publish(hub, "v1-large", value=2.0)
        assert weights.main(["fetch", "--renew", "catseg://v1-large"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert read_checkpoint(path)["model"]["a"][0] == 2.0


@pytest.mark.slow
def test_a_process_of_its_own_takes_the_hub_from_the_environment(tmp_path, capsys):
    settings = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "TQDM_POSITION": "-1"}  # the last for a bar in a pipe
    with LocalHub().running() as hub:
        publish(hub, "v1-large")
        environment = {**os.environ, **settings, "HF_ENDPOINT": hub.endpoint}
        command = [sys.executable, "-m", "catseg.tools.weights", "fetch", "v1-large"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert hub.requests
    assert "100%" in done.stderr
    assert weights.main(["fetch", "v1-large"]) == 0  # offline, as all tests are
    assert capsys.readouterr().out == done.stdout
