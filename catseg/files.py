"""Files that are either complete or absent."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to, which becomes `path` when the block ends without an exception.

    The temporary file is in the same folder, which is made if needed, and has the same suffix, so that libraries that
    choose a format by suffix work. Whatever interrupts the block (Ctrl-C, a full disk), a file that was at `path`
    before stays as it was and the temporary one is removed.

    Args:
        path: the file to write.

    Yields:
        The path to write to instead.

    Raises:
        OSError: if the folder cannot be made or the file not be put in place.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex}.partial{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
