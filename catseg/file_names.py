"""Names of results, one for each file that they are of."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def result_names(files: Sequence[Path], root: str | Path | None = None) -> list[str]:
    """Name the results of files by the files' paths, without their suffixes except where two names would be equal.

    Args:
        files: different ones; absolute if `root` is.
        root: folder that holds them all; by default the deepest that does.

    Returns:
        Paths relative to `root`, with "/" between folders; different ones, even on disks that know no case.
    """
    if not files:
        return []
    common = os.path.commonpath([file.parent for file in files]) if root is None else root
    relative = [file.relative_to(common).as_posix() for file in files]
    names = [Path(name).with_suffix("").as_posix() for name in relative]
    while clashing := {name for name, count in Counter(map(str.casefold, names)).items() if count > 1}:
        kept = [full if name.casefold() in clashing else name for name, full in zip(names, relative, strict=True)]
        if kept == names:  # a.jpg beside A.jpg
            return [f"{name}_{index}" if name.casefold() in clashing else name for index, name in enumerate(names)]
        names = kept
    return names
