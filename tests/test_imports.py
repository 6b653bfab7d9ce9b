"""The dependency rule between the folders of catseg, read off the source code.

`modeling.layers` knows none of the rest. The parts of the network may use it, and never each other: only
`modeling.network` and `modeling.training_free` join them, with the help of `modeling.execution` and the like. `data`,
`modeling`, `evaluation` and `visualization` meet in dictionaries, tensors and lists of names and never import one
another. Leaves may be imported by all, and import only leaves.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "catseg"

LEAVES = {
    "arguments",
    "atomic",
    "config",
    "config_checks",
    "config_values",
    "console",
    "errors",
    "exif",
    "file_names",
    "image_files",
    "image_io",
    "label_coverage",
    "label_io",
    "official_config",
    "official_keys",
    "safe_pickle",
    "stored_values",
    "tiff",
    "shapes.classes",
    "vocabulary",
    "weight_files",
}
PARTS = {f"modeling.{name}" for name in ("backbones", "clip", "aggregation", "losses", "sliding_window")}
# What joins parts may use beside them.
JOINTS = {f"modeling.{name}" for name in ("layers", "execution", "image_logits", "segmenter", "tta")}
# What the rest of the package sees of the network.
NETWORKS = {f"modeling.{name}" for name in ("layers", "image_logits", "segmenter", "meta_arch", "training_free")}
AREAS = {"data", "modeling", "evaluation", "visualization"}
TOP = {
    "api",
    "app",
    "batch",
    "benchmark",
    "build",
    "checkpoint",
    "cli",
    "data_report",
    "engine",
    "inference",
    "model_facts",
    "pages",
    "parity",
    "segmenting",
    "shapes",
    "tools",
}
COMMANDS = {"app", "batch", "benchmark", "cli", "data_report", "parity", "shapes", "tools"}

# Which groups a group may import, besides itself and the leaves. "modeling" is the package's __init__, and "catseg" the
# top package's; importing `catseg` alone, for its version, is free to all.
ALLOWED: dict[str, set[str]] = {
    **{leaf: set() for leaf in LEAVES},
    "modeling.layers": set(),
    **{part: {"modeling.layers"} for part in PARTS},
    "modeling.execution": {"modeling.aggregation", "modeling.layers"},
    "modeling.image_logits": {"modeling.layers", "modeling.sliding_window"},
    "modeling.segmenter": {"modeling.layers", "modeling.clip", "modeling.image_logits", "modeling.sliding_window"},
    "modeling.network": {*JOINTS, *PARTS},
    "modeling.meta_arch": {"modeling.network", *PARTS},
    "modeling.training_free": {*JOINTS, "modeling.backbones", "modeling.clip", "modeling.sliding_window"},
    "modeling.tta": {"modeling.sliding_window"},
    "modeling": {"modeling.layers", "modeling.meta_arch", "modeling.training_free", *PARTS},
    "data": set(),
    "evaluation": set(),
    "visualization": set(),
    "catseg": {"api", "config"},
    **{name: {*TOP, *AREAS, *PARTS, *NETWORKS} for name in TOP},
}
ALLOWED["api"] |= {"modeling.execution"}
ALLOWED["config"] = {"modeling"}  # when it is called, to register the network
ALLOWED["__main__"] = {"cli"}
ALLOWED["build"] = {"checkpoint", "modeling.execution", "modeling.segmenter", "modeling.meta_arch"}
ALLOWED["checkpoint"] -= {"build", "engine", "inference", *COMMANDS}
ALLOWED["engine"] -= {"inference", *COMMANDS}
ALLOWED["inference"] -= COMMANDS
ALLOWED["model_facts"] = {"modeling.backbones"}
ALLOWED["pages"] = {"visualization"}

LAYERS_LIBRARIES = {"torch", "timm", "einops"}
OUTSIDE = {"train_net", "demo", "tests", "datasets"}


def test_package_keeps_the_rule():
    assert violations(PACKAGE) == []


def test_every_group_of_the_rule_exists():
    present = {group(module) for module in modules(PACKAGE)}
    assert sorted(set(ALLOWED) - present) == []


@pytest.mark.parametrize(
    ("file", "line", "named"),
    [
        ("modeling/clip/loading.py", "from catseg.modeling.backbones.swin import Swin", "modeling.backbones"),
        ("modeling/clip/loading.py", "import catseg.modeling.meta_arch", "modeling.meta_arch"),
        ("modeling/clip/loading.py", "from ..aggregation import head", "modeling.aggregation"),
        ("modeling/layers/conv.py", "import numpy", "numpy"),
        ("modeling/layers/conv.py", "from catseg.modeling import losses", "modeling.losses"),
        ("modeling/meta_arch.py", "from catseg.visualization import overlay", "visualization"),
        ("data/mapper.py", "def f():\n    from catseg import modeling", "modeling"),
        ("visualization/overlay.py", "import catseg.data as d", "data"),
        ("config.py", "from catseg.engine.trainer import Trainer", "engine"),
        ("checkpoint/official.py", "from catseg.engine import trainer", "engine"),
        ("tools/train.py", "from demo.demo import main", "demo"),
        ("engine/trainer.py", "import train_net", "train_net"),
        ("novelty/module.py", "import torch", "novelty"),
    ],
)
def test_checker_sees_a_violation(tmp_path, file, line, named):
    write_package(tmp_path, {file: line})
    [found] = violations(tmp_path)
    assert found.startswith(file)
    assert named in found.split(": ", 1)[1]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("modeling/clip/loading.py", "from catseg.modeling.clip.cache import Cache"),
        ("modeling/clip/loading.py", "from .cache import Cache\nfrom ..layers import conv"),
        ("modeling/layers/conv.py", "import math\nimport torch.nn.functional as F\nfrom timm.layers import Mlp"),
        (
            "modeling/meta_arch.py",
            "from catseg.modeling.clip import loading\nfrom catseg import config",
        ),
        ("data/mapper.py", "from catseg import __version__, vocabulary"),
        ("tools/train.py", "from catseg.engine.trainer import Trainer\nfrom catseg.modeling import meta_arch"),
        ("__init__.py", "from catseg.api import loading"),
    ],
)
def test_checker_accepts_what_the_rule_allows(tmp_path, file, line):
    write_package(tmp_path, {file: line})
    assert violations(tmp_path) == []


def write_package(folder: Path, files: dict[str, str]) -> None:
    for name in ["modeling/losses.py", "modeling/meta_arch.py", "data/mapper.py", "vocabulary.py"]:
        files.setdefault(name, "")
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)


def modules(package: Path) -> dict[str, Path]:
    """Module name below the package ("" for the package itself, "data.mapper", ...) -> file."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def group(module: str) -> str:
    """The group of `ALLOWED` that a module below catseg belongs to."""
    if module in LEAVES:
        return module
    parts = module.split(".")
    return ".".join(parts[:2] if parts[0] == "modeling" else parts[:1]) or "catseg"


def violations(package: Path) -> list[str]:
    """Every import in the folder `package`, which stands for catseg, that breaks the rule, one line each."""
    present = modules(package)
    found = []
    for module, path in present.items():
        own = group(module)
        place = path.relative_to(package).as_posix()
        if own not in ALLOWED:
            found.append(f"{place}: the folder or module {own} is not in the rule")
            continue
        is_package = path.name == "__init__.py"
        for line, target in imports(ast.parse(path.read_text()), module, is_package, set(present)):
            if problem := complaint(own, target):
                found.append(f"{place}:{line}: {problem}")
    return found


def complaint(own: str, target: str) -> str | None:
    """What is wrong with a module of the group `own` importing `target`, an absolute module name."""
    top = target.split(".")[0]
    if top in OUTSIDE:
        return f"catseg must not import {top}"
    if top == "catseg":
        other = group(target.partition(".")[2])
        if other not in {"catseg", own, *LEAVES, *ALLOWED[own]}:
            return f"{own} must not import {other}"
    elif own == "modeling.layers" and top not in LAYERS_LIBRARIES | sys.stdlib_module_names:
        return f"modeling.layers must not import {top}"
    return None


def imports(tree: ast.Module, module: str, is_package: bool, present: set[str]) -> Iterator[tuple[int, str]]:
    """(line, absolute module name) of every import, wherever in the file it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = ["catseg", *filter(None, module.split("."))]
                above = parents[: len(parents) - node.level + is_package]
                base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                is_module = any(f"catseg.{name}" == full or f"catseg.{name}".startswith(f"{full}.") for name in present)
                yield node.lineno, full if is_module else base
