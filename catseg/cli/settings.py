"""Options that can also be set by the environment and in files, and where each value comes from.

A flag wins over the environment, that over `catseg.yaml` in the working folder, that over the user's
`~/.config/catseg/config.yaml` ($XDG_CONFIG_HOME/catseg/config.yaml), that over the default. `CATSEG_CONFIG` names a
file that is read instead of these two. A file holds `model` and `device`, and below the name of a command its own:

    device: cuda
    segment:
      format: jpg
      save: [overlay, labels]

The variable of a setting is its name after `CATSEG_`: CATSEG_DEVICE, CATSEG_FORMAT.
"""

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catseg.arguments import file_path, positive
from catseg.cli.main import COMMANDS
from catseg.errors import InputError

SHARED = ("model", "device")
HELP = "settings: flag over CATSEG_MODEL, CATSEG_DEVICE, ... over catseg.yaml over ~/.config/catseg/config.yaml"


@dataclass(frozen=True)
class Setting:
    """An option of a command that has other sources, too.

    Attributes:
        name: of the option, without dashes.
        help: what `--help` says; the default is added.
        default: its value where nothing else is said.
        read: makes a value of a text, or raises `argparse.ArgumentTypeError`.
        choices: the texts that there are; () for any.
        metavar: what `--help` calls the text.
        short: another, one-letter name of the option, with its dash.
    """

    name: str
    help: str
    default: Any = None
    read: Callable[[str], Any] = str
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    short: str | None = None

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"CATSEG_{self.name.upper()}"

    def value(self, text: str, origin: str) -> Any:
        """Read a text that is not from the command line.

        Raises:
            ValueError: if it is not what the setting takes; the message begins with `origin`.
        """
        if self.choices and text not in self.choices:
            raise InputError(f"{origin} is {text!r}, expected one of {', '.join(self.choices)}")
        try:
            return self.read(text)
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise InputError(f"{origin}: {error}") from error


MODEL = Setting(
    "model",
    "name of a published model (`catseg models` lists them), shapes, CONFIG.yaml:WEIGHTS, the folder of a run, "
    "hf://OWNER/REPO, or training-free:CLIP/WEIGHTS",
    short="-m",
)
DEVICE = Setting("device", "such as cpu, cuda, cuda:1 or mps; default: a GPU where there is one")


GPUS = Setting(
    "gpus", "GPUs of this machine, or processes where there is none (default: 1)", None, positive, metavar="N"
)


def add_run_arguments(parser: argparse.ArgumentParser, *, output: str) -> None:
    """Add the options of the commands that run a model on data sets: output folder, unlabelled pixels, config keys.

    Args:
        parser: of the command.
        output: folder that they write to by default.
    """
    parser.add_argument("-o", "--output", type=file_path, default=Path(output), help="folder (default: %(default)s)")
    add_data_arguments(parser)
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config overrides; the last argument"
    )


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how own data are meant."""
    parser.add_argument(
        "--data-format", metavar="FORMAT", help="where a folder could be of several; a wrong one lists all"
    )
    parser.add_argument("--unlabelled", metavar="NAME", help="class of the pixels that nobody labelled, or 'ignored'")


def add_settings(parser: argparse.ArgumentParser, settings: Sequence[Setting]) -> None:
    """Add the options of settings, and `--verbose`, to a command."""
    for setting in settings:
        names = [f"--{setting.name}"] if setting.short is None else [setting.short, f"--{setting.name}"]
        default = "" if setting.default is None else f" (default: {shown(setting.default)})"
        parser.add_argument(
            *names,
            type=setting.read,
            choices=setting.choices or None,
            metavar=setting.metavar or (None if setting.choices else setting.name.upper()),
            help=setting.help + default,
        )
    parser.add_argument("--verbose", action="store_true", help="print the settings and where each comes from")


def resolve(command: str, args: argparse.Namespace, settings: Sequence[Setting]) -> list[str]:
    """Fill in what the command line does not say.

    Args:
        command: whose settings they are.
        args: its arguments, which are changed.
        settings: those of `add_settings`.

    Returns:
        For each setting a line with its value and origin.

    Raises:
        FileNotFoundError: if CATSEG_CONFIG names no file.
        ValueError: if a file or variable cannot be used.
    """
    layers = [(f"{path}", _read(path, command, settings)) for path in _files()]
    lines = []
    for setting in settings:
        value, origin = _find(setting, getattr(args, setting.name), layers)
        setattr(args, setting.name, value)
        lines.append(f"{setting.name}: {shown(value)} ({origin})")
    return lines


def apply_settings(command: str, args: argparse.Namespace, settings: Sequence[Setting]) -> None:
    """Fill in what the command line does not say, and print what came of it where `--verbose` asks for that.

    Arguments and errors as `resolve`.
    """
    lines = resolve(command, args, settings)
    if args.verbose:
        sys.stderr.writelines(f"{line}\n" for line in lines)


def shown(value: Any) -> str:
    """Write a value as it is typed."""
    if isinstance(value, tuple | list | frozenset):
        return ",".join(map(str, value))
    return "not set" if value is None else str(value)


def _find(setting: Setting, flag: Any, layers: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[Any, str]:
    if flag is not None:
        return flag, f"--{setting.name}"
    text = os.environ.get(setting.variable)
    if text:
        return setting.value(text, setting.variable), setting.variable
    for origin, values in layers:
        if values.get(setting.name) is not None:
            return setting.value(shown(values[setting.name]), f"{setting.name} in {origin}"), origin
    return setting.default, "default"


def _files() -> list[Path]:
    named = os.environ.get("CATSEG_CONFIG")
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"CATSEG_CONFIG names {path}, which is not a file")
        return [path]
    home = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    return [path for path in (Path("catseg.yaml"), home / "catseg" / "config.yaml") if path.is_file()]


def _read(path: Path, command: str, settings: Sequence[Setting]) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    own = content.get(command) or {} if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(own, dict):
        raise InputError(f"{path} must hold `name: value` lines, and those of a command below its name")
    known = {setting.name for setting in settings}
    _check(content, {*SHARED, *COMMANDS}, f"{path}", hint=f"{command}: {{...}}" if known & content.keys() else "")
    _check(own, known, f"{command} in {path}")
    return {key: content[key] for key in SHARED if key in content} | own


def _check(values: Mapping[Any, Any], known: set[str], where: str, hint: str = "") -> None:
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            note = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"
            raise InputError(f"{where} has no setting {key!r}; {f'write it below a command: {hint}' if hint else note}")
