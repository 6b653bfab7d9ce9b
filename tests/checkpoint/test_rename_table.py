import pytest
import torch

from catseg.checkpoint.rename_table import RenameTable

TABLE = RenameTable(
    source="a test",
    renames=((r"old\.", "new."), (r"new\.(\d)\.", r"new.block\1.")),
    dropped=(r".*\.index",),
    optional=(r"extra\..*",),
)


def shapes(**tensors: tuple[int, ...]) -> dict[str, torch.Size]:
    return {name.replace("__", "."): torch.Size(shape) for name, shape in tensors.items()}


def test_tensors_are_renamed_dropped_and_optional() -> None:
    state = {"old.1.weight": torch.ones(2), "old.1.index": torch.zeros(3), "new.bias": torch.zeros(1)}
    expected = shapes(new__block1__weight=(2,), new__bias=(1,), extra__norm=(4,))
    converted = TABLE.convert(state, expected)
    assert set(converted) == {"new.block1.weight", "new.bias"}
    assert converted["new.block1.weight"] is state["old.1.weight"]
    assert set(state) == {"old.1.weight", "old.1.index", "new.bias"}


def test_renaming_is_anchored() -> None:
    assert TABLE.rename("very.old.1.weight") == "very.old.1.weight"


def test_unknown_missing_and_misshapen_tensors_are_listed() -> None:
    state = {"old.1.weight": torch.ones(2), "stranger": torch.ones(1)}
    with pytest.raises(ValueError, match=r"1 unknown: stranger; 1 missing: new.bias; 1 of another shape: ") as error:
        TABLE.convert(state, shapes(new__block1__weight=(3,), new__bias=(1,)))
    assert "new.block1.weight (2,) instead of (3,)" in str(error.value)
    assert "a test" in str(error.value)
