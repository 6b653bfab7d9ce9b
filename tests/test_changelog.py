import re
from pathlib import Path

from catseg import __version__


def test_the_top_entry_is_the_version() -> None:
    first = re.search(r"^## (\S+)", Path("CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert first is not None
    assert first[1] == __version__
