import errno
import sys
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
import torch

from catseg.modeling.clip import text_cache
from catseg.modeling.clip.text_cache import TextCache, fingerprint

ROOT = Path(__file__).parents[3]
FEATURES = torch.arange(24.0).reshape(4, 6)


def only_file(folder):
    (path,) = folder.rglob("*.safetensors")
    return path


def test_what_one_process_stores_another_finds(tmp_path):
    TextCache(folder=tmp_path).put("key", "night table", FEATURES)
    again = TextCache(folder=tmp_path)
    assert torch.equal(again.get("key", "night table"), FEATURES)
    assert again.get("key", "table") is None
    assert again.get("other key", "night table") is None


@pytest.mark.parametrize("name", ["a/b", "..", "", "x" * 5000, "naïve 猫\n"])
def test_any_name_can_be_stored(tmp_path, name):
    TextCache(folder=tmp_path / "cache").put("key", name, FEATURES)
    assert torch.equal(TextCache(folder=tmp_path / "cache").get("key", name), FEATURES)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = TextCache()
    cache.put("key", "cat", FEATURES)
    assert torch.equal(cache.get("key", "cat"), FEATURES)
    assert TextCache().get("key", "cat") is None
    assert not list(tmp_path.iterdir())


def test_memory_forgets_the_least_recently_used():
    cache = TextCache(memory_size=2)
    cache.put("key", "a", FEATURES)
    cache.put("key", "b", FEATURES)
    cache.get("key", "a")
    cache.put("key", "c", FEATURES)
    assert [cache.get("key", name) is not None for name in "abc"] == [True, False, True]


def truncate(content):
    return content[:-7]


def flip_a_bit(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lambda content: b"", lambda content: b"not a tensor file"])
def test_damaged_file_is_reported_and_can_be_overwritten(tmp_path, caplog, damage):
    TextCache(folder=tmp_path).put("key", "cat", FEATURES)
    path = only_file(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    cache = TextCache(folder=tmp_path)
    assert cache.get("key", "cat") is None
    assert "'cat'" in caplog.text
    assert str(path) in caplog.text
    cache.put("key", "cat", FEATURES)
    assert torch.equal(TextCache(folder=tmp_path).get("key", "cat"), FEATURES)


def test_file_of_another_name_is_not_taken(tmp_path):
    TextCache(folder=tmp_path).put("key", "cat", FEATURES)
    content = only_file(tmp_path).read_bytes()
    other = TextCache(folder=tmp_path)
    other.put("key", "dog", FEATURES + 1)
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(content)
    assert TextCache(folder=tmp_path).get("key", "dog") is None


def test_folder_that_cannot_be_made_is_reported_once(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    cache = TextCache(folder=tmp_path / "file" / "cache")
    cache.put("key", "cat", FEATURES)
    cache.put("key", "dog", FEATURES)
    assert len(caplog.records) == 1
    assert "CATSEG_CACHE" in caplog.text
    assert torch.equal(cache.get("key", "cat"), FEATURES)
    assert cache.get("key", "bird") is None


def test_full_disk_leaves_no_half_file(tmp_path, caplog, monkeypatch):
    atomic_path = text_cache.atomic_path

    @contextmanager
    def full_disk(path):
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
            yield

    monkeypatch.setattr(text_cache, "atomic_path", full_disk)
    cache = TextCache(folder=tmp_path)
    cache.put("key", "cat", FEATURES)
    cache.put("key", "dog", FEATURES)
    assert caplog.text.count("No space left on device") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert torch.equal(cache.get("key", "dog"), FEATURES)


# Writes and reads the same few names over and over; whatever goes wrong is on standard error.
WRITER = """
import logging, sys
import torch
from catseg.modeling.clip.text_cache import TextCache

logging.basicConfig()
features = torch.arange(24.0).reshape(4, 6)
print("ready", flush=True)
sys.stdin.readline()
for i in range(300):
    name = f"name {i % 3}"
    TextCache(folder=sys.argv[1]).put("key", name, features)
    found = TextCache(folder=sys.argv[1]).get("key", name)
    if found is None or not torch.equal(found, features):
        sys.stderr.write(f"read {found}")
"""


def test_two_processes_write_the_same_names_at_once(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", WRITER, str(tmp_path)]
    pipes = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE, "text": True}
    with Popen(command, cwd=ROOT, **pipes) as first, Popen(command, cwd=ROOT, **pipes) as second:
        assert [process.stdout.readline() for process in (first, second)] == ["ready\n"] * 2
        for process in (first, second):
            process.stdin.write("go\n")
            process.stdin.flush()
        errors = [process.communicate(timeout=60)[1] for process in (first, second)]
    assert errors == ["", ""]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CATSEG_CACHE", str(tmp_path / "mine"))
    TextCache.default().put("key", "cat", FEATURES)
    assert only_file(tmp_path).is_relative_to(tmp_path / "mine" / "text" / "key")
    monkeypatch.delenv("CATSEG_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    TextCache.default().put("key", "cat", FEATURES)
    assert only_file(tmp_path / "home").is_relative_to(tmp_path / "home" / ".cache" / "catseg" / "text")


def test_user_without_a_home_folder(monkeypatch, caplog):
    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    cache = TextCache.default()
    cache.put("key", "cat", FEATURES)
    assert torch.equal(cache.get("key", "cat"), FEATURES)
    assert "CATSEG_CACHE" in caplog.text


def test_fingerprint_depends_on_names_types_shapes_and_bytes():
    weights = {"a": torch.ones(2, 3), "b": torch.tensor(1.0)}
    variants = [
        (weights, {"templates": ["{}"]}),
        (weights, {"templates": ["a {}"]}),
        ({"a": torch.ones(2, 3), "c": torch.tensor(1.0)}, {"templates": ["{}"]}),
        ({"a": torch.ones(3, 2), "b": torch.tensor(1.0)}, {"templates": ["{}"]}),
        ({"a": torch.ones(2, 3).bfloat16(), "b": torch.tensor(1.0)}, {"templates": ["{}"]}),
        ({"a": torch.ones(2, 3), "b": torch.tensor(1.0000001)}, {"templates": ["{}"]}),
    ]
    keys = [fingerprint(tensors.items(), settings) for tensors, settings in variants]
    assert len(set(keys)) == len(variants)
    reordered = dict(reversed(weights.items()))
    assert fingerprint(reordered.items(), {"templates": ["{}"]}) == keys[0]


def test_fingerprint_changes_with_the_format(monkeypatch):
    before = fingerprint([], {})
    monkeypatch.setattr(text_cache, "FORMAT_VERSION", text_cache.FORMAT_VERSION + 1)
    assert fingerprint([], {}) != before
