import argparse
import io
import logging
import pickle
import sys

import pytest
from torch.utils.data import DataLoader, Dataset

from catseg.console import add_debug_option, debugging, errors_in_one_line, one_line, quieten_console
from catseg.errors import InputError, NotFiniteError, RunError, UserError


@pytest.mark.parametrize("kind", [InputError, RunError, NotFiniteError, FileNotFoundError, PermissionError, OSError])
def test_what_a_user_can_mend_is_one_line(kind):
    with pytest.raises(SystemExit, match=r"^command: a\.yaml is no config$"), errors_in_one_line("command"):
        raise kind("a.yaml is no config")


@pytest.mark.parametrize(
    "kind", [ValueError, RuntimeError, AssertionError, KeyError, ConnectionResetError, MemoryError]
)
def test_all_others_keep_their_traceback(kind):
    with pytest.raises(kind), errors_in_one_line("command"):
        raise kind("a fault")


@pytest.mark.parametrize(
    ("kind", "builtin"), [(InputError, ValueError), (RunError, RuntimeError), (NotFiniteError, FloatingPointError)]
)
def test_each_is_the_builtin_error_and_survives_pickling(kind, builtin):
    error = pickle.loads(pickle.dumps(kind("message")))
    assert isinstance(error, builtin)
    assert isinstance(error, UserError)
    assert str(error) == "message"


def test_debugging_shows_every_traceback(monkeypatch):
    monkeypatch.setenv("CATSEG_DEBUG", "1")
    with pytest.raises(InputError), errors_in_one_line("command"):
        raise InputError("message")
    monkeypatch.setenv("CATSEG_DEBUG", "0")
    with pytest.raises(SystemExit), errors_in_one_line("command"):
        raise InputError("message")


def test_the_option_asks_for_it(monkeypatch):
    monkeypatch.setenv("CATSEG_DEBUG", "")
    parser = argparse.ArgumentParser()
    add_debug_option(parser)
    parser.parse_args([])
    assert not debugging()
    parser.parse_args(["--debug"])
    assert debugging()


def test_ctrl_c(capsys):
    with pytest.raises(SystemExit, match="130"), errors_in_one_line("command", interrupted="stopped"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "command: stopped\n"
    with pytest.raises(KeyboardInterrupt), errors_in_one_line("command"):
        raise KeyboardInterrupt


class Damaged(Dataset):
    """Items that cannot be read."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise self.error from ValueError("catseg.errors.InputError: of another one")


@pytest.mark.parametrize("error", [InputError("a.jpg cannot be decoded"), PermissionError(13, "denied", "a.jpg")])
def test_of_the_workers_of_a_loader_the_message_alone_is_shown(error):
    with pytest.raises(type(error)) as raised:
        list(DataLoader(Damaged(error), num_workers=1))
    assert "Traceback" in str(raised.value)
    assert one_line(raised.value) == str(error)


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Gives the loggers of a run handlers for the console and for a file; the console's text and the file."""
    console, file = io.StringIO(), tmp_path / "log.txt"
    monkeypatch.setattr(sys, "stdout", console)
    for name in ("catseg", "detectron2"):
        handlers = [logging.StreamHandler(sys.stdout), logging.FileHandler(file)]
        monkeypatch.setattr(logging.getLogger(name), "handlers", handlers)
    quieten_console(["catseg", "detectron2"])
    return console, file


@pytest.mark.parametrize("kind", [InputError, ValueError])
def test_the_log_file_holds_every_traceback(kind, log):
    console, file = log
    with pytest.raises((SystemExit, ValueError)), errors_in_one_line("command"):
        raise kind("message")
    assert "Traceback" in file.read_text()
    assert f"{kind.__name__}: message" in file.read_text()
    assert "Traceback" not in console.getvalue()  # the interpreter shows it, if it is to be shown


@pytest.mark.parametrize(("kind", "shown"), [(InputError, False), (ValueError, True)])
def test_what_detectron2_logs_stays_off_the_console(kind, shown, log):
    console, file = log
    try:
        raise kind("message")
    except ValueError:
        logging.getLogger("detectron2").exception("Exception during training:")
    assert ("Traceback" in console.getvalue()) is shown
    assert "Traceback" in file.read_text()
