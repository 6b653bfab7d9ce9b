"""Checkpoint files: found, recognised by the names of their tensors, and read once."""

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from catseg.weight_files.kinds import describe_folder
from catseg.weight_files.reader import read_checkpoint

__all__ = [
    "BEST",
    "LAST",
    "find_checkpoints",
    "forget_read_ahead",
    "holds_whole_network",
    "is_whole_network",
    "last_checkpoint",
    "read_checkpoint",
    "require_file",
    "take_checkpoint",
]

LAST, BEST = "last_checkpoint", "model_best"

# A path, and what changes when another file is written there: inode, size in bytes and time in ns.
_State = tuple[str, int, int, int]

# The checkpoint that was read for what it is, and is about to be loaded; one at most, since they are large.
_read_ahead: dict[_State, dict[str, Any]] = {}
# Names that only whole networks have, this project's or the authors', with or without a prefix.
_WHOLE = re.compile(r"(?:.*\.)?(?:clip|sem_seg_head\.predictor)\..+")


def require_file(path: str | Path, what: str) -> Path:
    """Return `path` if a file is there.

    Args:
        path: a local file.
        what: what names it, for the error.

    Raises:
        FileNotFoundError: if it does not exist.
    """
    if Path(path).is_dir():
        raise FileNotFoundError(f"{what} names {path}, which {describe_folder(Path(path))}")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{what} names {path}, which is not a file: check the path, or download it first")
    return Path(path)


def find_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints that a training run wrote to a folder, by name; none if there is no such folder."""
    return sorted(path for path in folder.glob("*.pth") if not path.name.startswith("."))


def last_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint that a training run in a folder goes on from.

    Args:
        folder: OUTPUT_DIR of the run.

    Returns:
        The checkpoint that the file `last_checkpoint` names; None if the folder has neither that file nor checkpoints.

    Raises:
        FileNotFoundError: if the checkpoint was removed, or there are checkpoints but not that file.
    """
    tag = folder / LAST
    if tag.is_file():
        return require_file(folder / tag.read_text(encoding="utf-8").strip(), str(tag))
    checkpoints = find_checkpoints(folder)
    if checkpoints:
        newest = max(checkpoints, key=lambda path: (path.name != f"{BEST}.pth", path.stat().st_mtime)).name
        raise FileNotFoundError(
            f"{folder} holds checkpoints, but no file {LAST} that names the one to go on from: write the name into it "
            f"(echo {newest} > {tag}), or choose another output folder"
        )
    return None


def is_whole_network(names: Iterable[str]) -> bool:
    """Tell the weights of a whole CAT-Seg, of this project or as published, from those of a backbone by their names."""
    return any(_WHOLE.fullmatch(name) for name in names)


def holds_whole_network(path: Path) -> bool:
    """Tell whether a checkpoint holds a whole CAT-Seg. What was read for that is kept for `take_checkpoint`.

    Raises:
        FileNotFoundError, ValueError: as `read_checkpoint`.
    """
    return _holds_whole_network(_state(path))


def take_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, or hand over what `holds_whole_network` read of the same file, which is kept no longer.

    Args, result and errors are those of `read_checkpoint`.
    """
    found = _read_ahead.pop(_state(path), None)
    forget_read_ahead()
    return read_checkpoint(path) if found is None else found


def forget_read_ahead() -> None:
    """Free what is kept for `take_checkpoint`, in a process that loads nothing itself."""
    _read_ahead.clear()


@functools.cache
def _holds_whole_network(state: _State) -> bool:
    forget_read_ahead()
    checkpoint = _read_ahead[state] = read_checkpoint(Path(state[0]))
    return is_whole_network(checkpoint["model"])


def _state(path: Path) -> _State:
    try:
        status = path.stat()
    except OSError:  # `read_checkpoint` says what is wrong
        return str(path), 0, 0, 0
    return str(path), status.st_ino, status.st_size, status.st_mtime_ns
