import errno
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
import torch
from safetensors import safe_open

from catseg.modeling.clip import cache_folder, text_cache
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
    cache = TextCache(memory_bytes=2 * FEATURES.nbytes)
    cache.put("key", "a", FEATURES)
    cache.put("key", "b", FEATURES)
    cache.put("key", "b", FEATURES)
    cache.get("key", "a")
    cache.put("key", "c", FEATURES)
    assert [cache.get("key", name) is not None for name in "abc"] == [True, False, True]
    cache.put("key", "twice as large", FEATURES.repeat(2, 1))
    assert [cache.get("key", name) is not None for name in "abc"] == [False] * 3
    cache.put("key", "too large", FEATURES.repeat(3, 1))
    assert cache.get("key", "too large") is None


def used_at(folder, name, seconds):
    """Make a file as old as that."""
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            if file.metadata()["name"] == name:
                os.utime(path, (seconds, seconds))


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_folder_forgets_the_least_recently_used(tmp_path):
    TextCache(folder=tmp_path).put("key", "a", FEATURES)
    size = only_file(tmp_path).stat().st_size
    bounded = TextCache(folder=tmp_path, memory_bytes=0, disk_bytes=3 * size)
    bounded.put("key", "b", FEATURES)
    TextCache(folder=tmp_path).put("other weights", "c", FEATURES)
    for time, name in enumerate("abc", start=10**9):
        used_at(tmp_path, name, time)
    assert bounded.get("key", "a") is not None
    bounded.put("key", "d", FEATURES)
    assert [bounded.get("key", name) is not None for name in "abd"] == [True, False, True]
    assert bounded.get("other weights", "c") is not None
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 3 * size


def test_a_folder_that_was_filled_before_shrinks_to_its_bound(tmp_path):
    for index in range(20):
        TextCache(folder=tmp_path).put("key", f"name {index}", FEATURES)
    size = files(tmp_path)[0].stat().st_size
    TextCache(folder=tmp_path, disk_bytes=5 * size).put("key", "new", FEATURES)
    assert len(files(tmp_path)) <= 5
    assert TextCache(folder=tmp_path).get("key", "new") is not None


def test_what_a_killed_process_left_goes_and_what_is_being_written_stays(tmp_path):
    (tmp_path / "key").mkdir()
    (tmp_path / "emptied").mkdir()
    os.utime(tmp_path / "emptied", (10**9, 10**9))
    left, young = (tmp_path / "key" / name for name in (".a.partial.safetensors", ".b.partial.safetensors"))
    for path in (left, young):
        path.write_bytes(bytes(10_000))
    os.utime(left, (10**9, 10**9))
    TextCache(folder=tmp_path, disk_bytes=12_000).put("key", "cat", FEATURES)
    assert not left.exists()
    assert young.exists()
    assert not (tmp_path / "emptied").exists()
    assert TextCache(folder=tmp_path).get("key", "cat") is not None


def test_the_environment_sets_the_sizes(tmp_path, monkeypatch):
    monkeypatch.setenv("CATSEG_TEXT_CACHE_MEMORY_MIB", "0")
    cache = TextCache.default()
    cache.put("key", "cat", FEATURES)
    [path] = files(cache_folder_of_tests())
    path.unlink()
    assert cache.get("key", "cat") is None
    monkeypatch.setenv("CATSEG_TEXT_CACHE_MIB", "0")
    TextCache.default().put("key", "cat", FEATURES)
    assert files(cache_folder_of_tests()) == []
    monkeypatch.setenv("CATSEG_TEXT_CACHE_MIB", "2 GB")
    with pytest.raises(ValueError, match="CATSEG_TEXT_CACHE_MIB is '2 GB', expected a whole number of MiB"):
        TextCache.default()


def cache_folder_of_tests():
    return Path(os.environ["CATSEG_CACHE"]) / "text"


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
    atomic_path = cache_folder.atomic_path

    @contextmanager
    def full_disk(path):
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
            yield

    monkeypatch.setattr(cache_folder, "atomic_path", full_disk)
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
bytes_, may_be_gone = int(sys.argv[2]), sys.argv[3] == "removed"
for i in range(300):
    name = f"name {i % 3}"
    TextCache(folder=sys.argv[1], disk_bytes=bytes_).put("key", name, features)
    found = TextCache(folder=sys.argv[1], disk_bytes=bytes_).get("key", name)
    if not (may_be_gone if found is None else torch.equal(found, features)):
        sys.stderr.write(f"read {found}")
"""


@pytest.mark.parametrize(("bound", "outcome", "left"), [("1000000", "kept", 3), ("500", "removed", 2)])
def test_two_processes_write_the_same_names_at_once(tmp_path, bound, outcome, left):
    command = [sys.executable, "-W", "ignore", "-c", WRITER, str(tmp_path), bound, outcome]
    pipes = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE, "text": True}
    with Popen(command, cwd=ROOT, **pipes) as first, Popen(command, cwd=ROOT, **pipes) as second:
        assert [process.stdout.readline() for process in (first, second)] == ["ready\n"] * 2
        for process in (first, second):
            process.stdin.write("go\n")
            process.stdin.flush()
        errors = [process.communicate(timeout=60)[1] for process in (first, second)]
    assert errors == ["", ""]
    assert len(files(tmp_path)) == left


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
