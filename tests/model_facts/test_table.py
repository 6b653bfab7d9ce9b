"""The table of backbones."""

import json
import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from catseg.model_facts import cost, table
from catseg.model_facts.backbones import FACTS
from catseg.model_facts.cost import all_sizes, build, count_gflops
from catseg.tools import backbone_table
from catseg.tools.backbone_table import main

TINY_VAN = {
    "slim": {"embed_dims": (8, 12, 16, 24), "depths": (1, 1, 1, 1)},
    "wide": {"embed_dims": (16, 24, 32, 48), "depths": (1, 1, 1, 1)},
}


class Attention(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = x, x[:, :, :5], x[:, :, :5, :3]
        if self.fused:
            return scaled_dot_product_attention(query, key, value)
        return (query @ key.transpose(2, 3)).softmax(-1) @ value


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of two small backbones, and a small crop."""
    for module in (cost, backbone_table):
        monkeypatch.setattr(module, "all_sizes", lambda: {"VAN": TINY_VAN})
    monkeypatch.setattr(table, "CROP", 64)


def table_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_size_has_a_name_among_the_facts() -> None:
    for family, sizes in all_sizes().items():
        assert set(FACTS[family].sizes) == set(sizes)


def test_swin_has_the_width_of_the_published_recipe() -> None:
    channels = [spec.channels for spec in build("D2SwinTransformer", "base").output_shape().values()]
    assert channels == [128, 256, 512]


def test_multiply_adds_of_a_convolution_and_a_linear_layer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(2), nn.Linear(36, 2))
    assert count_gflops(network, torch.zeros(1, 3, 6, 6)) == (36 * 4 * 27 + 4 * 36 * 2) / 1e9


def test_fused_attention_counts_as_its_two_products(caplog: pytest.LogCaptureFixture) -> None:
    x = torch.randn(2, 3, 7, 4)
    with caplog.at_level(logging.WARNING):
        assert count_gflops(Attention(fused=True), x) == count_gflops(Attention(fused=False), x) == 1470 / 1e9
    assert not caplog.records


def test_products_that_are_not_counted_are_named(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.mv(x, x[0])

    with caplog.at_level(logging.WARNING):
        count_gflops(Odd(), torch.randn(3, 3))
    assert "Odd: multiply-adds without those of aten::mv" in caplog.text


@pytest.mark.usefixtures("tiny")
def test_prints_a_row_per_size_and_the_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "made" / "rows.json"
    main(["--families", "VAN", "--runs", "1", "--threads", "1", "--json", str(target)])
    text = capsys.readouterr().out
    header, _, slim, wide = table_rows(text)
    assert header[0] == "backbone"
    assert (slim[0], wide[0]) == ("VAN slim", "VAN wide")
    assert len(header) == len(slim) == 7
    assert float(slim[1]) < float(wide[1]) or slim[1] == wide[1]
    assert "- VAN (arXiv 2202.09741): " in text
    rows = json.loads(target.read_text())
    assert [row["size"] for row in rows] == ["slim", "wide"]
    assert 0 < rows[0]["gflops"] < rows[1]["gflops"]
    assert 0 < rows[0]["parameters"] < rows[1]["parameters"]
    assert all(row["milliseconds"] > 0 for row in rows)


@pytest.mark.usefixtures("tiny")
def test_timing_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--no-timing", "--threads", "1"])
    assert [row[3] for row in table_rows(capsys.readouterr().out)[2:]] == ["-", "-"]


@pytest.mark.parametrize("words", [["--families", "Resnet"], ["--runs", "0"], ["--threads", "none"]])
def test_wrong_options_end_the_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert words[1] in capsys.readouterr().err
