from pathlib import Path

import pytest

from catseg.file_names import result_names


def names(*files, root=None):
    return result_names([Path(file) for file in files], root)


def test_names_are_paths_without_suffix():
    assert names("/data/a.jpg", "/data/b.png") == ["a", "b"]
    assert names("/data/1/a.jpg", "/data/2/a.jpg") == ["1/a", "2/a"]
    assert names("/data/a.jpg", root="/") == ["data/a"]
    assert names("a/v1.2.jpg") == ["v1.2"]
    assert names() == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["/a.jpg", "/a.png", "/b.png"], ["a.jpg", "a.png", "b"]),
        (["/a.jpg", "/a.png", "/a.jpg.png"], ["a.jpg", "a.png", "a.jpg.png"]),
        (["/Cat.jpg", "/cat.png"], ["Cat.jpg", "cat.png"]),
        (["/cat.jpg", "/cat.JPG"], ["cat.jpg_0", "cat.JPG_1"]),
    ],
)
def test_equal_names_keep_what_tells_them_apart(files, expected):
    assert names(*files) == expected
