import collections
import os
import pickle

import numpy as np
import pytest

from catseg.safe_pickle import load_pickle

VALUES = {
    "names": ["a", "b", None, 1.5, True],
    "matrix": np.arange(6).reshape(2, 3),
    "order": np.asfortranarray(np.ones((2, 3), dtype=np.float32)),
    "objects": np.array(["a", "bc"], dtype=object),
    "number": np.float64(3),
    "table": collections.OrderedDict(a=(1, 2)),
    "bytes": b"\x00\xff",
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_and_arrays_are_read(tmp_path, protocol):
    path = tmp_path / "values.pkl"
    path.write_bytes(pickle.dumps(VALUES, protocol=protocol))
    loaded = load_pickle(path)
    assert loaded.keys() == VALUES.keys()
    for name, value in VALUES.items():
        np.testing.assert_array_equal(loaded[name], value)


def test_arrays_of_numpy_1_are_read(tmp_path):
    path = tmp_path / "old.pkl"
    path.write_bytes(pickle.dumps(VALUES["matrix"], protocol=2).replace(b"numpy._core", b"numpy.core"))
    np.testing.assert_array_equal(load_pickle(path), VALUES["matrix"])


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "attack",
    [
        lambda file: Attack(os.system, f"touch {file}"),
        lambda file: Attack(eval, f"open({str(file)!r}, 'w')"),
        lambda file: {"folder": [Attack(os.mkdir, str(file))]},
        lambda file: np.array([Attack(os.mkdir, str(file))], dtype=object),
    ],
)
def test_code_is_not_run(tmp_path, attack):
    trace = tmp_path / "trace"
    path = tmp_path / "attack.pkl"
    path.write_bytes(pickle.dumps(attack(trace)))
    with pytest.raises(ValueError, match=r"attack\.pkl .* could run code: .*is more than data"):
        load_pickle(path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(VALUES)[:100]])
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / "damaged.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.pkl is damaged"):
        load_pickle(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pkl"):
        load_pickle(tmp_path / "nowhere.pkl")
