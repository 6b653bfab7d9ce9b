import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from catseg.parity.case import fill, load_case

CASES = Path(__file__).parents[1] / "parity/cases"


@pytest.mark.parametrize(
    ("name", "shape", "offset", "scale"),
    [
        ("a.weight", (4, 5, 2), 0, 10**-0.5),
        ("norm.weight", (6,), 1, 0.1),
        ("a.bias", (6,), 0, 0.1),
        ("scale", (), 0, 0.1),
        ("x.pos_embed", (1, 3, 4), 0, 0.1),
    ],
)
def test_fill_is_seeded_by_the_name_and_scaled_by_the_kind(
    name: str, shape: tuple[int, ...], offset: float, scale: float
) -> None:
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    np.testing.assert_allclose(fill(name, shape).numpy(), offset + scale * noise, rtol=1e-6)


def test_running_variances_are_at_least_one() -> None:
    assert fill("bn.running_var", (100,)).min() >= 1


def test_a_case_has_its_parts() -> None:
    case = load_case(CASES / "backbones/swin_tiny_64x96.npz")
    assert case.config["family"] == "swin"
    assert case.inputs["image"].shape == (1, 3, 64, 96)
    assert set(case.outputs) == {"res2", "res3", "res4", "res5"}
    state = case.state_dict()
    assert set(case.buffers) <= set(state)
    assert state["norm0.weight"].shape == (32,)


def test_other_files_are_refused(tmp_path: Path) -> None:
    text, archive = tmp_path / "text.npz", tmp_path / "archive.npz"
    text.write_text("hello")
    np.savez(archive, meta=np.frombuffer(json.dumps({"source": "x"}).encode(), np.uint8))
    for path in (text, archive):
        with pytest.raises(ValueError, match=f"{path.name} is not a reference case"):
            load_case(path)
    with pytest.raises(FileNotFoundError):
        load_case(tmp_path / "none.npz")
