from pathlib import Path

import pytest
from inputs import describe_left_out, find_images


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def names(*inputs, output="out", recursive=False):
    return [image.name for image in find_images(inputs, Path(output), recursive=recursive)[0]]


def test_a_folder():
    touch("photos/b.png", "photos/a.JPG", "photos/notes.txt", "photos/.hidden.jpg", "photos/trip/c.jpg")
    Path("photos/folder.jpg").mkdir()
    assert names("photos") == ["a", "b"]
    assert names("photos", recursive=True) == ["a", "b", "trip/c"]
    [first, _], left_out = find_images(["photos/"], Path("out"), recursive=False)
    assert {Path(path).name: reason for path, reason in left_out.items()} == {
        "notes.txt": "no image, by its suffix",
        "trip": "a folder: --recursive looks into it",
        "folder.jpg": "a folder: --recursive looks into it",
    }
    assert first.path == Path.cwd() / "photos" / "a.JPG"


def test_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    touch("home/photos/a.jpg")
    assert names("~/photos") == names("~/photos/*.jpg") == names("~/photos/a.jpg") == ["a"]


def test_files():
    touch("photos/a.jpg", "photos/b", "other/c.png")
    assert names("photos/a.jpg") == ["a"]
    assert names("photos/b") == ["b"]
    assert names("photos/a.jpg", "other/c.png") == ["photos/a", "other/c"]


def test_patterns():
    touch("photos/a.jpg", "photos/b.png", "photos/trip/c.jpg", "photos/x/y/d.jpg", "photos/notes.txt")
    assert names("photos/*.jpg") == ["a"]
    assert names("photos/*") == ["a", "b"]
    assert names("photos/**/*.jpg") == ["a", "trip/c", "x/y/d"]
    assert names("ph*/[ab].*") == ["photos/a", "photos/b"]


def test_absolute_patterns():
    touch("photos/a.jpg")
    assert names(f"{Path.cwd()}/photos/*.jpg") == ["a"]


def test_a_file_whose_name_looks_like_a_pattern():
    touch("photos/a[1].jpg", "photos/a1.jpg")
    assert names("photos/a[1].jpg") == ["a[1]"]


def test_the_suffix_stays_where_names_would_clash():
    touch("photos/a.jpg", "photos/a.png", "photos/b.jpg", "photos/trip/a.jpg")
    assert names("photos", recursive=True) == ["a.jpg", "a.png", "b", "trip/a"]


def test_names_that_clash_with_a_kept_suffix():
    touch("photos/a.jpg", "photos/a.png", "photos/a.jpg.png")
    found = names("photos")
    assert sorted(found) == ["a.jpg", "a.jpg.png", "a.png"]


def test_equal_names_in_several_folders():
    touch("one/a.jpg", "two/a.jpg", "two/deep/one/a.jpg")
    assert names("one", "two", "two/deep/one") == ["one/a", "two/a", "two/deep/one/a"]


def test_an_image_that_is_named_twice_is_done_once():
    touch("photos/a.jpg")
    assert names("photos", "photos/a.jpg", "photos/*.jpg", "photos/../photos/a.jpg") == ["a"]


def test_earlier_results_are_no_input():
    touch("photos/a.jpg", "photos/out/a_overlay.png")
    assert names("photos", output="photos/out", recursive=True) == ["a"]
    assert names("photos/**/*", output="photos/out") == ["a"]
    assert names("photos/out/a_overlay.png", output="photos/out") == ["a_overlay"]


@pytest.mark.parametrize("word", ["photos", "photos/*.jpg"])
def test_the_output_is_not_the_input(word):
    touch("photos/a.jpg")
    with pytest.raises(ValueError, match="is where the images come from"):
        names(word, output="photos/../photos")
    assert names(word, output=".") == ["a"]


def test_nothing_there():
    touch("photos/notes.txt", "photos/trip/a.jpg")
    with pytest.raises(FileNotFoundError, match="no file or folder missing"):
        names("photos", "missing")
    with pytest.raises(FileNotFoundError, match=r"nothing matches photos/\*\.tif"):
        names("photos/*.tif")
    with pytest.raises(
        ValueError, match=r"no images in photos; --recursive looks into subfolders too: 2 are left out: notes"
    ):
        names("photos")


def test_symbolic_links(tmp_path):
    touch("photos/a.jpg")
    Path("link").symlink_to("photos")
    Path("photos/b.jpg").symlink_to("a.jpg")
    Path("photos/loop").symlink_to(".")
    Path("photos/broken.jpg").symlink_to("gone.jpg")
    assert names("link", recursive=True) == ["a", "b", "broken"]
    assert names("link/broken.jpg") == ["broken"]


def test_what_is_left_out_is_named_with_the_reason():
    touch(
        "photos/a.mpo", "photos/IMG_1.HEIC", "photos/IMG_2.heic", "photos/b.DNG", "photos/clip.mov", "photos/Thumbs.db"
    )
    touch("elsewhere/c.jpg")
    Path("photos/gone.jpg").symlink_to("nowhere.jpg")
    Path("photos/more").symlink_to(Path("elsewhere").resolve(), target_is_directory=True)
    images, left_out = find_images(["photos"], Path("out"), recursive=True)
    assert [image.name for image in images] == ["a", "gone"]  # which fails with a message of its own
    assert describe_left_out(left_out) == (
        "5 are left out: IMG_1.HEIC, IMG_2.heic (HEIC needs pip install pillow-heif); "
        "b.DNG (a raw camera file: export it as JPEG or TIFF); clip.mov (a video: extract its frames as images); "
        "more (a link to a folder: name it as an input)"
    )
    with pytest.raises(ValueError, match=r"no images in photos/\*\.DNG.*: 1 is left out: b\.DNG \(a raw camera file"):
        find_images(["photos/*.DNG"], Path("out"), recursive=True)
