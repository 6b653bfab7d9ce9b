"""What holds for every test: fixed seeds, one thread, folders of its own and no network."""

import logging
import os
import random
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, so it is set before anything else is
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the tests' subprocesses

import hypothesis
import numpy as np
import pytest
import torch
from detectron2.utils.logger import setup_logger

# What runs in the background ignores Ctrl-C and hands that on; the tests send it to the commands that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

LOOPBACK = ("127.", "::1", "localhost")

hypothesis.settings.register_profile("catseg", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("catseg")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests: at the end, one processor would wait for the other."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _session_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One thread, folders for the fixtures that several tests share, and an error instead of the network."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        _set_folders(patch, tmp_path_factory.mktemp("session"))
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _loopback_only(getattr(socket.socket, name)))
        yield


@pytest.fixture(autouse=True)
def _test_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same random numbers in every test, and folders that no other test has seen."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (Detectron2's augmentations draw from the global generator)
    torch.manual_seed(0)
    _set_folders(monkeypatch, tmp_path_factory.mktemp("environment"))


@pytest.fixture(autouse=True)
def _loggers():
    """Take away what Detectron2's `setup_logger` adds for good: a process has one run, but for tests."""
    loggers = [logging.getLogger(name) for name in ("fvcore", "detectron2", "catseg")]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    setup_logger.cache_clear()
    for logger, handlers, level, propagate in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def _set_folders(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setenv("CATSEG_CACHE", str(folder / "cache"))
    patch.setenv("DETECTRON2_DATASETS", str(folder / "datasets"))


def _loopback_only(method):
    def connect(self, address):
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(LOOPBACK):
            raise RuntimeError(f"a test tried to reach {address}: tests work without the network")
        return method(self, address)

    return connect
