"""The guards of conftest.py hold."""

import os
import random
import socket
from pathlib import Path

import numpy as np
import pytest
import torch


def test_reaching_the_network_is_an_error():
    with socket.socket() as client, pytest.raises(RuntimeError, match="without the network"):
        client.connect(("192.0.2.1", 80))  # reserved for documentation: no machine has it


def test_loopback_is_reached():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


@pytest.mark.parametrize("repetition", range(2))
def test_every_test_draws_the_same_numbers(repetition):
    drawn = (random.random(), float(np.random.rand()), float(torch.rand(())))  # noqa: NPY002
    assert drawn == pytest.approx((0.8444218515, 0.5488135039, 0.4962565899))


def test_folders_are_the_tests_own():
    for name in ("CATSEG_CACHE", "DETECTRON2_DATASETS"):
        folder = Path(os.environ[name])
        assert "pytest" in str(folder)
        assert not folder.exists()
