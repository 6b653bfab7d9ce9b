"""Files that are either complete or absent."""

import json
import math
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_STALE_AFTER = 60  # seconds without a write; containers may share a folder and a host name, but not process numbers


def cache_folder(name: str) -> Path:
    """Return the folder `name` of what this project keeps between runs: in $CATSEG_CACHE, by default ~/.cache/catseg.

    Raises:
        RuntimeError: if CATSEG_CACHE is not set and the user has no home folder.
    """
    return Path(os.environ.get("CATSEG_CACHE") or "~/.cache/catseg").expanduser() / name


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to, which becomes `path` when the block ends without an exception.

    The temporary file is in the same folder, which is made if needed, and has the same suffix, so that libraries that
    choose a format by suffix work. Whatever interrupts the block (Ctrl-C, a full disk), a file that was at `path`
    before stays as it was and the temporary one is removed. If the process is killed, it stays: see `remove_remains`.

    Args:
        path: the file to write; a leading ~ is the home folder.

    Yields:
        The path to write to instead.

    Raises:
        OSError: if the folder cannot be made or the file not be put in place.
    """
    target = Path(path).expanduser()
    target.parent.mkdir(parents=True, exist_ok=True)
    unique = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    temporary = target.with_name(f"{_temporary_start(target)}{unique}.partial{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file through `atomic_path`.

    Args:
        path: the file to write.
        content: as `json_text` takes it.

    Raises:
        OSError: if the file cannot be written.
    """
    with atomic_path(path) as temporary:
        # File names that are no valid Unicode hold lone surrogates, which are written as JSON escapes.
        temporary.write_text(json_text(content), encoding="utf-8", errors="backslashreplace")


def json_text(content: Any) -> str:
    """Return strict JSON, indented, with a line break at its end.

    Args:
        content: mappings, sequences and plain values. NaN and infinity, which JSON does not have, become null.
    """
    return json.dumps(_without_nan(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def remove_remains(path: str | Path) -> None:
    """Remove the temporary files of `atomic_path` that processes of this machine left when they were killed.

    Args:
        path: the file that they were writing. All files in its folder are looked at.
    """
    start = _temporary_start(Path(path))
    for found in Path(path).parent.glob(".*"):
        if not found.name.startswith(start):
            continue
        number = found.name.removeprefix(start).split("-", 1)[0]
        with suppress(OSError):  # another process may have removed it
            if number.isdecimal() and not _runs(int(number)) and time.time() - found.stat().st_mtime > _STALE_AFTER:
                found.unlink()


def _temporary_start(target: Path) -> str:
    """Return how the names of temporary files begin, up to the process number."""
    # Names are limited to 255 bytes, of which a character may take 4.
    return f".{target.name[:30]}.{socket.gethostname()[:30]}-"


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
