import pytest

from catseg.data.pairs import exists_by_folder, files_by_name, paired_files


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_extensions_of_any_case(tmp_path):
    images = touch(tmp_path / "images", "b.JPG", "a.jpg", "._a.jpg", "notes.txt")
    labels = touch(tmp_path / "labels", "a.PNG", "b.png")
    assert paired_files(images, "jpg", labels, "png") == [
        (images / "a.jpg", labels / "a.PNG"),
        (images / "b.JPG", labels / "b.png"),
    ]


def test_two_files_of_one_name(tmp_path):
    folder = touch(tmp_path / "images", "a.jpg", "a.JPG")
    with pytest.raises(ValueError, match=r"has both a\.JPG and a\.jpg: remove one"):
        files_by_name(folder, "jpg")


def test_links(tmp_path):
    folder = touch(tmp_path / "images", "a.jpg")
    (folder / "b.jpg").symlink_to("a.jpg")
    assert files_by_name(folder, "jpg").keys() == {"a", "b"}
    (folder / "c.jpg").symlink_to("gone.jpg")
    with pytest.raises(FileNotFoundError, match=r"1 links in .*images lead to no file: c\.jpg"):
        files_by_name(folder, "jpg")


def test_files_exist(tmp_path):
    folder = touch(tmp_path / "images", "a.jpg")
    (folder / "b.jpg").symlink_to("gone.jpg")
    exists = exists_by_folder()
    assert exists(folder / "a.jpg")
    assert not exists(folder / "b.jpg")
    assert not exists(folder / "c.jpg")
    assert not exists(tmp_path / "gone" / "a.jpg")
