"""The comparison of backbones with their plain transcriptions."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks import backbone_speed
from benchmarks.backbone_speed import PLAIN, build_pair, check_equal, main, select, training_step
from catseg.tools.backbone_table import all_sizes

SMALL_VAN = {"embed_dims": (8, 12, 16, 24), "depths": (1, 1, 1, 1)}


class Shifted(nn.Module):
    """A network whose maps are off by a little."""

    def __init__(self, network: nn.Module, shift: float, drop: str = "") -> None:
        super().__init__()
        self.network, self.shift, self.drop = network, shift, drop

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {name: x + self.shift for name, x in self.network(images).items() if name != self.drop}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of one small backbone."""
    monkeypatch.setattr("catseg.tools.backbone_table.all_sizes", lambda: {"VAN": {"small": SMALL_VAN}})
    monkeypatch.setattr(backbone_speed, "all_sizes", lambda: {"VAN": {"small": SMALL_VAN}})
    monkeypatch.setattr("benchmarks.harness.CALIBRATION_SIDE", 64)


def test_every_family_has_a_plain_transcription() -> None:
    assert set(PLAIN) == set(all_sizes())


def test_the_smallest_of_each_family_is_compared_by_default() -> None:
    assert select(["VAN", "MPViT"], None) == [("VAN", "b0"), ("MPViT", "tiny")]
    assert select(["VAN", "MPViT"], ["base", "b2", "b0"]) == [("VAN", "b0"), ("VAN", "b2"), ("MPViT", "base")]


def test_unknown_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="no family has the size giant; there are MPViT: tiny, xsmall, small, base"):
        select(["MPViT"], ["tiny", "giant"])


@pytest.mark.usefixtures("small")
def test_pairs_share_weights_that_leave_no_branch_off() -> None:
    torch.manual_seed(0)
    ours, plain = build_pair("VAN", "small")
    torch.testing.assert_close(ours.state_dict(), dict(plain.state_dict()))
    assert all(tensor.std() > 0 for tensor in ours.state_dict().values() if tensor.numel() > 1)
    assert check_equal(ours, plain, torch.randn(1, 3, 64, 64)) < 1e-4


@pytest.mark.usefixtures("small")
def test_networks_that_differ_are_not_timed() -> None:
    ours, plain = build_pair("VAN", "small")
    image = torch.randn(1, 3, 64, 64)
    with pytest.raises(RuntimeError, match=r"VAN differs from the plain network: .*'res5'"):
        check_equal(ours, Shifted(plain, 0.01), image)
    with pytest.raises(RuntimeError, match="VAN differs"):
        check_equal(ours, Shifted(plain, float("nan")), image)
    with pytest.raises(RuntimeError, match=r"VAN gives .*'res5'\], the plain network .*'res4'\]"):
        check_equal(ours, Shifted(plain, 0, drop="res5"), image)


@pytest.mark.usefixtures("small")
def test_a_training_step_reaches_all_weights() -> None:
    ours, _ = build_pair("VAN", "small")
    training_step(ours.train(), torch.randn(2, 3, 64, 64))
    first = [parameter.grad.clone() for parameter in ours.parameters()]
    training_step(ours, torch.randn(2, 3, 64, 64))
    assert not any(torch.equal(a, b.grad) for a, b in zip(first, ours.parameters(), strict=True))


@pytest.mark.usefixtures("small")
def test_prints_a_row_and_writes_all_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "report.json"
    main(["--families", "VAN", "--rounds", "2", "--side", "64", "--threads", "1", "--save", str(target)])
    text = capsys.readouterr().out
    assert "# Backbones against plain transcriptions" in text
    assert "images 1 x 3 x 64 x 64, rounds 2" in text
    assert "| VAN small" in text
    report = json.loads(target.read_text())
    (found,) = report["raw"]
    assert found["size"] == "small"
    for task in ("forward", "step"):
        assert len(found[task]["ours_seconds"]) == len(found[task]["plain_seconds"]) == 2
        assert found[task]["ratio"] > 0


@pytest.mark.parametrize("words", [["--families", "Resnet"], ["--rounds", "0"], ["--sizes", "giant"]])
def test_wrong_options_end_the_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert words[1] in capsys.readouterr().err
