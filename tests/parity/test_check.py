"""The reference cases: what the authors' code computes, met by ours."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catseg.parity.check import main

CASES = Path(__file__).parents[1] / "parity/cases"
BACKBONES = sorted((CASES / "backbones").glob("*.npz"))
TRAINING_FREE = sorted((CASES / "training_free").glob("*.npz"))


@pytest.mark.parametrize("path", BACKBONES, ids=lambda path: path.stem)
def test_backbones(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(path)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("path", TRAINING_FREE, ids=lambda path: path.stem)
def test_training_free(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(path)]) == 0, capsys.readouterr().out
    assert "features" in capsys.readouterr().out


def run(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """Check a case of CAT-Seg, which has to pass: quantity to error."""
    assert main([str(CASES / "catseg" / name)]) == 0, capsys.readouterr().out
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith(" ok")]
    return {line.split()[0]: float(line.split("error")[1].split()[0]) for line in lines}


def test_small_network(capsys: pytest.CaptureFixture[str]) -> None:
    errors = run("v1_tiny.npz", capsys)
    assert len(errors) == 24
    assert max(errors.values()) < 1e-4


@pytest.mark.slow
def test_published_network(capsys: pytest.CaptureFixture[str]) -> None:
    errors = run("v1_large.npz", capsys)
    assert len(errors) == 14


@pytest.mark.slow
def test_version_2(capsys: pytest.CaptureFixture[str]) -> None:
    errors = run("v2_base.npz", capsys)
    assert len(errors) == 21
    assert {"train_loss", "grad_norms", "trainable", "text_features_test"} <= set(errors)
    assert max(error for name, error in errors.items() if not name.startswith("grad")) < 1e-4


def rewritten(path: Path, target: Path, *, config: dict[str, Any] | None = None, **arrays: np.ndarray) -> Path:
    """A copy of a case with another config or other arrays (`__` in their names stands for a slash)."""
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    meta = json.loads(content["meta"].tobytes())
    meta["config"] |= config or {}
    content["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(target, **content | {name.replace("__", "/"): value for name, value in arrays.items()})
    return target


def test_a_wrong_number_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = CASES / "backbones/swin_tiny_64x96.npz"
    with np.load(source) as file:
        res3 = file["out/res3"].copy()
    res3.reshape(-1)[5] += 1e-4
    case = rewritten(source, tmp_path / "wrong.npz", out__res3=res3)
    assert main([str(case)]) == 1
    verdicts = [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]]
    assert verdicts == ["ok", "FAIL", "ok", "ok"]


def test_a_wrong_shape_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = CASES / "backbones/swin_tiny_64x96.npz"
    case = rewritten(source, tmp_path / "wrong.npz", out__res5=np.zeros((1, 256, 3, 3), np.float32))
    assert main([str(case)]) == 1
    assert "inf" in capsys.readouterr().out


def test_a_wrong_trainable_set_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = CASES / "catseg/v1_tiny.npz"
    case = rewritten(
        source, tmp_path / "wrong.npz", config={"options": _tiny_options(source) | {"SOLVER.BASE_LR": 1.0}}
    )
    assert main([str(case)]) == 0
    options = _tiny_options(source) | {"MODEL.SEM_SEG_HEAD.CLIP_FINETUNE": "none"}
    case = rewritten(source, tmp_path / "frozen.npz", config={"options": options})
    capsys.readouterr()
    assert main([str(case)]) == 1
    failed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.endswith("FAIL")]
    assert failed == ["trainable", "grad_norms"]


def test_a_stored_quantity_that_is_not_computed_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = {
        "out__sliding_res9": np.zeros(1, np.float32),
        "out__sliding_res9_stats": np.ones(3),
        "out__sliding_res9_shape": np.array([1]),
        "out__sliding_res9_step": np.array(1),
        "out__grad__backbone.norm9.weight": np.ones(2, np.float32),
    }
    case = rewritten(CASES / "catseg/v1_tiny.npz", tmp_path / "more.npz", **unknown)
    assert main([str(case)]) == 1
    failed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.endswith("FAIL")]
    assert failed == ["sliding_res9", "grad/backbone.norm9.weight"]


def _tiny_options(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return json.loads(file["meta"].tobytes())["config"]["options"]


@pytest.mark.parametrize(
    ("source", "config", "message"),
    [
        ("backbones/swin_tiny_64x96.npz", {"family": "resnext"}, "backbone family 'resnext'"),
        ("catseg/v1_tiny.npz", {"version": "v9"}, "version 'v9'"),
        ("catseg/v1_tiny.npz", {"config_file": "other.yaml"}, "config file 'other.yaml'"),
        ("catseg/v1_tiny.npz", {"config_file": "vitb_384.yaml"}, "known are vitl_swinb_384.yaml, vitb_r101_384.yaml"),
        ("catseg/v1_tiny.npz", {"options": {"MODEL.STRANGE": 1}}, "MODEL.STRANGE"),
        ("training_free/naclip_64x64.npz", {"method": "gem"}, "method 'gem'; known are maskclip, vanilla"),
        ("training_free/naclip_64x64.npz", {"activation": "relu"}, "activation 'relu'"),
    ],
)
def test_networks_that_are_not_there_exit_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, config: dict[str, Any], message: str
) -> None:
    case = rewritten(CASES / source, tmp_path / "case.npz", config=config)
    assert main([str(case)]) == 2
    assert message in capsys.readouterr().err


def test_files_that_cannot_be_run_do_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"no")
    good = CASES / "backbones/swin_tiny_64x96.npz"
    assert main([str(tmp_path / "missing.npz"), str(broken), str(good)]) == 2
    captured = capsys.readouterr()
    assert captured.out.count(" ok") == 4
    assert "missing.npz: cannot be run" in captured.err
    assert "broken.npz: cannot be run" in captured.err


def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--device", "cuda:99", str(CASES / "backbones/swin_tiny_64x96.npz")])
    assert stopped.value.code == 2
    assert "--device cuda:99 cannot be used here" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--device", "toaster", str(CASES / "backbones/swin_tiny_64x96.npz")])
    assert "--device toaster" in capsys.readouterr().err
