"""Which errors the package raises: see CONTRIBUTING.md."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "catseg"

# Misuse of functions by a program, which is a fault and keeps its traceback.
MISUSE = {
    "data/dataset_mapper.py": 1,
    "evaluation/confusion.py": 3,
    "evaluation/sem_seg_evaluator.py": 1,
    "modeling/layers/deformable_attention.py": 1,
    "modeling/network.py": 1,
    "modeling/sliding_window.py": 1,
    "modeling/training_free/last_block.py": 1,
    "modeling/training_free/segmenter.py": 1,
    "modeling/tta.py": 1,
    "visualization/canvas.py": 3,
    "visualization/heatmap.py": 1,
    "visualization/overlay.py": 2,
    "visualization/palette.py": 1,
}


def test_errors_that_a_user_can_mend_have_a_class_of_their_own():
    found = {}
    for path in PACKAGE.rglob("*.py"):
        count = len(re.findall(r"\braise (?:ValueError|RuntimeError|FloatingPointError)\b", path.read_text()))
        if count:
            found[path.relative_to(PACKAGE).as_posix()] = count
    assert found == MISUSE, "commands show a traceback of these: a user's errors are those of catseg/errors.py"
