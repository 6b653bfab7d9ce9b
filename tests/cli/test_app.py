import importlib.util
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from catseg.cli.commands import app
from catseg.errors import InputError


def test_without_gradio_it_says_what_to_install(catseg, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "gradio" else real(name, *more)
    )
    status, _, _ = catseg("app")
    assert status == 'catseg app: needs the package gradio: pip install "catseg[app]"'


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 lets others in: say who by --auth"),
        (["--share"], "--share lets others in: say who by --auth"),
        (["--auth", "secret"], "--auth must be NAME:PASSWORD"),
        (["--max-names", "0"], "expected a whole number of at least 1"),
    ],
)
def test_wrong_use(catseg, words, reason):
    pytest.importorskip("gradio", reason="the app needs gradio: pip install catseg[app]")
    status, _, err = catseg("app", *words)
    assert status == 2
    assert reason in err
    assert "secret" not in err


def test_users(tmp_path):
    assert app.read_users("") == app.read_users("none") == ()
    assert app.read_users("ann:a:b") == [("ann", "a:b")]
    (tmp_path / "users.txt").write_text("ann:secret\n\nbob:hidden\n")
    assert app.read_users(str(tmp_path / "users.txt")) == [("ann", "secret"), ("bob", "hidden")]
    (tmp_path / "users.txt").write_text("ann\n")
    with pytest.raises(InputError, match=r"users\.txt must be NAME:PASSWORD"):
        app.read_users(str(tmp_path / "users.txt"))


def test_a_model_that_cannot_be_loaded(catseg, tiny):
    pytest.importorskip("gradio", reason="the app needs gradio: pip install catseg[app]")
    status, _, err = catseg("app", "--model", "shapes")
    assert status == 2
    assert "run catseg demo" in err


def test_it_serves_and_ends(tiny):
    pytest.importorskip("gradio", reason="the app needs gradio: pip install catseg[app]")
    command = [sys.executable, "-m", "catseg", "app", "--models", "", "--device", "cpu"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tiny)
    try:
        said = ""
        while "catseg app is at" not in said:
            line = running.stderr.readline()
            assert line, said
            said += line
        assert "Only this machine can reach it; --share, a public link, is off." in said
        address = re.search(r"http://127\.0\.0\.1:\d+", said)[0]
        with urllib.request.urlopen(f"{address}/health") as answer:
            assert b'"models":["tiny"]' in answer.read()
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == 0
    finally:
        running.kill()
        running.stderr.close()
