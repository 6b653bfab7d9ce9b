"""Print a config that is written for the authors' code in this project's keys.

`python -m catseg.tools.import_config THEIRS.yaml [KEY VALUE ...] > configs/mine.yaml`
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode, get_cfg

from catseg.config import add_catseg_config, read_config
from catseg.config_values import flat
from catseg.console import add_debug_option, errors_in_one_line


def differences(cfg: CfgNode) -> dict[str, Any]:
    """Return the keys of a config that differ from this project's defaults, as nested dictionaries of plain values."""
    defaults = get_cfg()
    add_catseg_config(defaults)
    unchanged = dict(flat(defaults))
    found: dict[str, Any] = {}
    for key, value in flat(cfg):
        if value != unchanged[key]:
            *sections, name = key.split(".")
            node = found
            for section in sections:
                node = node.setdefault(section, {})
            node[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@errors_in_one_line("catseg.tools.import_config", interrupted="interrupted")
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the config to standard output and what became of its keys to standard error; return the exit status."""
    parser = argparse.ArgumentParser(description="Print a config written for the authors' code in this project's keys.")
    parser.add_argument("config_file", metavar="THEIRS.yaml", help="what it inherits is included")
    parser.add_argument(
        "options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides, in the authors' keys or in ours"
    )
    add_debug_option(parser)
    args = parser.parse_args(arguments)
    reading = read_config(args.config_file, args.options)
    notes = reading.notes or ("The config has no key that only the authors' code has: it is printed as it is.",)
    sys.stderr.writelines(f"{note}\n" for note in notes)
    sys.stdout.write(f"# From {Path(args.config_file).name}, written for the authors' code.\n" if reading.notes else "")
    sys.stdout.write(yaml.safe_dump(differences(reading.cfg), sort_keys=True, default_flow_style=None))
    return 0


if __name__ == "__main__":
    sys.exit(main())
