"""The command as a whole: what it imports, what it says, and what a shell completes."""

import subprocess
import sys

import pytest
import shtab

from catseg.cli.main import COMMANDS, command_parser, import_command


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_help_imports_nothing_slow(words):
    code = (
        "import sys; from catseg.cli.main import main\n"
        f"try: main({words!r})\n"
        "except SystemExit: pass\n"
        "sys.exit(str({'torch', 'numpy', 'PIL', 'cv2', 'detectron2', 'yaml', 'tqdm'} & set(sys.modules) or ''))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stderr.strip() == ""
    assert process.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_imports_nothing_slow(name):
    code = (
        "import sys; from catseg.cli.main import main\n"
        f"try: main([{name!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(str({'torch', 'cv2', 'detectron2'} & set(sys.modules) or ''))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stderr.strip() == ""
    assert "examples:" in process.stdout


def test_a_command_that_is_misspelt(catseg):
    status, out, err = catseg("sgment")
    assert (status, out) == (2, "")
    assert "did you mean segment?" in err


def test_every_example_is_of_its_command():
    for name in COMMANDS:
        command = import_command(name)
        assert f"catseg {name}" in command.EPILOG
        assert command_parser(name, command).format_help()


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_and_options(catseg, shell):
    status, out, _ = catseg("completion", shell)
    assert status == 0
    for word in (*COMMANDS, "skip-existing" if shell != "tcsh" else "segment"):
        assert word in out


def test_completion_is_bash(catseg, tmp_path):
    (tmp_path / "catseg.bash").write_text(catseg("completion", "bash")[1])
    subprocess.run(["bash", "-n", tmp_path / "catseg.bash"], check=True)
    assert shtab.__version__
