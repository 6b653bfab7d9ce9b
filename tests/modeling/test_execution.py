import logging
from pathlib import Path

import pytest
import torch

from catseg.modeling import execution
from catseg.modeling.execution import dtype_from_config
from tests.tiny import tiny_config


def test_names_are_types(tmp_path: Path) -> None:
    assert dtype_from_config(tiny_config(tmp_path)) == torch.float32
    assert dtype_from_config(tiny_config(tmp_path, TEST__DTYPE="bfloat16")) == torch.bfloat16


def test_an_unknown_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"TEST\.DTYPE must be one of float32, bfloat16, float16, got 'half'"):
        dtype_from_config(tiny_config(tmp_path, TEST__DTYPE="half"))


@pytest.mark.parametrize("fast", [False, True])
def test_a_type_without_instructions_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fast: bool
) -> None:
    monkeypatch.setattr(execution, "_has_instructions", lambda dtype: fast)
    with caplog.at_level(logging.WARNING, logger=execution.__name__):
        dtype_from_config(tiny_config(tmp_path, TEST__DTYPE="bfloat16"))
    assert ("no instructions for bfloat16" in caplog.text) is not fast


def test_a_processor_without_onednn_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with caplog.at_level(logging.WARNING, logger=execution.__name__):
        assert dtype_from_config(tiny_config(tmp_path, TEST__DTYPE="float16")) == torch.float16
        assert "no instructions for float16" in caplog.text
        caplog.clear()
        dtype_from_config(tiny_config(tmp_path))
    assert not caplog.text


def test_more_shapes_are_compiled_than_by_default() -> None:
    with torch._dynamo.config.patch(recompile_limit=8):
        execution.compile_blocks(torch.nn.Linear(1, 1))
        assert torch._dynamo.config.recompile_limit == execution.SHAPES_COMPILED
