import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from catseg.atomic import atomic_path, json_text, remove_remains, write_json


def test_the_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "folder" / "a.txt"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".txt"
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_block_leaves_the_earlier_file(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("before")

    def write_half():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_writes_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass
    assert not list(tmp_path.iterdir())


def test_two_blocks_for_one_file_do_not_meet(tmp_path):
    target = tmp_path / "a.txt"
    with atomic_path(target) as first, atomic_path(target) as second:
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


KILLED = """
import os, signal, sys
from catseg.atomic import atomic_path
with atomic_path(sys.argv[1]) as path:
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed(tmp_path):
    target, other = tmp_path / "a.txt", tmp_path / "b.txt"
    subprocess.run([sys.executable, "-c", KILLED, target], check=False)
    [remains] = tmp_path.iterdir()
    assert remains.name.startswith(".a.txt.")
    remove_remains(target)  # its writer could be a process that is not seen from here
    assert remains.exists()
    earlier = time.time() - 3600
    os.utime(remains, (earlier, earlier))
    remove_remains(other)
    assert remains.exists()
    with atomic_path(target) as path:
        path.touch()
        os.utime(path, (earlier, earlier))  # old, but its process lives
        remove_remains(target)
    assert list(tmp_path.iterdir()) == [target]


def test_names_as_long_as_they_may_be(tmp_path):
    target = tmp_path / ("\u732b" * 83 + ".txt")  # 253 bytes
    with atomic_path(target) as path:
        path.touch()
    assert list(tmp_path.iterdir()) == [target]


def strictly(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_numbers_that_json_does_not_have_are_null(tmp_path):
    nan, infinity = float("nan"), float("inf")
    write_json(
        tmp_path / "a.json", {"a": nan, "b": [1.5, -infinity], "c": (np.float64("nan"), {"d": infinity}), "e": 2}
    )
    found = strictly((tmp_path / "a.json").read_text())
    assert found == {"a": None, "b": [1.5, None], "c": [None, {"d": None}], "e": 2}


def test_any_file_name_can_be_written(tmp_path):
    names = ["naïve 猫", b"caf\xe9".decode("utf-8", "surrogateescape")]
    write_json(tmp_path / "a.json", names)
    assert strictly((tmp_path / "a.json").read_text(encoding="utf-8")) == names


def test_json_is_written_in_one_way_alone():
    package = Path(__file__).parents[1]
    sources = [path for folder in ("catseg", "demo", "benchmarks") for path in (package / folder).rglob("*.py")]
    own = ("json.dump(", "write_text(json.dumps(")
    assert [path.name for path in sources if any(call in path.read_text() for call in own)] == ["catseg_cases.py"]
    assert json_text([1]).endswith("]\n")
