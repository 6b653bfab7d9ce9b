import pytest

from catseg.data.pairs import exists_by_folder, files_by_name, found_by_folder, load_pairs, paired_files


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


def test_files_are_found_whatever_the_case_of_their_suffix(tmp_path):
    folder = touch(tmp_path / "images", "a.JPG", "b.jpg", "b.JPG")
    found = found_by_folder()
    assert found(folder / "a.jpg") == folder / "a.JPG"
    assert found(folder / "b.jpg") == folder / "b.jpg"
    assert found(folder / "c.jpg") is None
    assert found(tmp_path / "gone" / "a.jpg") is None


def test_pairs_of_every_suffix(tmp_path, caplog):
    images = touch(tmp_path / "images", "a.jpg", "b.JPG", "c.jpeg", "d.png", "._a.jpg", "notes.txt", "e.heic")
    labels = touch(tmp_path / "labels", "a.png", "b.PNG", "c.tif", "d.bmp", "d.jpg")
    records = load_pairs(labels, str(images))
    assert records == [
        {"file_name": str(images / image), "sem_seg_file_name": str(labels / label)}
        for image, label in (("a.jpg", "a.png"), ("b.JPG", "b.PNG"), ("c.jpeg", "c.tif"), ("d.png", "d.bmp"))
    ]
    assert "2 files in" in caplog.text
    assert "are left out: e.heic, notes.txt" in caplog.text
    assert "are left out: d.jpg" in caplog.text


def test_pairs_of_given_suffixes_in_one_folder(tmp_path, caplog):
    folder = touch(tmp_path / "both", "a.jpg", "a.png", "b.JPG", "b.Png")
    records = load_pairs(folder, folder, "png", ".jpg")
    assert [record["file_name"] for record in records] == [str(folder / "a.jpg"), str(folder / "b.JPG")]
    assert caplog.text == ""


def test_files_without_counterpart_are_no_pairs(tmp_path):
    images, labels = touch(tmp_path / "images", "a.jpg", "b.jpg"), touch(tmp_path / "labels", "a.png", "c.png")
    with pytest.raises(FileNotFoundError, match=r"no label map for 1 images of .*: b; .* no image for 1 .*labels: c"):
        load_pairs(labels, images)
    with pytest.raises(FileNotFoundError, match=r"images has no \.png files"):
        load_pairs(labels, images, image_extension="png")
    with pytest.raises(FileNotFoundError, match="gone is missing"):
        load_pairs(labels, tmp_path / "gone")
