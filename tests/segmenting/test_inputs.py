from pathlib import Path

import pytest

from catseg.segmenting.inputs import describe_left_out, find_images


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


def left_out(*inputs, recursive=True):
    found = find_images(inputs, Path("out"), recursive=recursive)[1]
    return {Path(path).relative_to(Path.cwd()).as_posix(): reason for path, reason in found.items()}


def test_a_folder():
    touch("photos/b.png", "photos/a.JPG", "photos/notes.txt", "photos/.hidden.jpg", "photos/trip/c.jpg")
    Path("photos/folder.jpg").mkdir()
    assert names("photos") == ["a", "b"]
    assert names("photos", recursive=True) == ["a", "b", "trip/c"]
    [first, _] = find_images(["photos/"], Path("out"), recursive=False)[0]
    assert first.path == Path.cwd() / "photos" / "a.JPG"


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
    message = (
        r"no images in photos: 2 files or folders were left out: trip \(.* --recursive .*\); notes\.txt \(not named"
    )
    with pytest.raises(ValueError, match=message):
        names("photos")


def test_symbolic_links(tmp_path):
    touch("photos/a.jpg")
    Path("link").symlink_to("photos")
    Path("photos/b.jpg").symlink_to("a.jpg")
    Path("photos/loop").symlink_to(".")
    Path("photos/broken.jpg").symlink_to("gone.jpg")
    assert names("link", recursive=True) == ["a", "b", "broken"]
    assert names("photos", recursive=True) == ["a", "b", "broken"]
    assert names("link/broken.jpg") == ["broken"]


@pytest.mark.parametrize("suffix", ["JPG", "Jpeg", "jfif", "mpo", "TIF", "avif", "jp2", "webp", "qoi", "pnm", "ico"])
def test_suffixes_of_what_pillow_reads(suffix):
    touch(f"photos/a.{suffix}")
    assert names("photos") == ["a"]


def test_every_file_is_taken_or_left_out_with_a_reason():
    touch("photos/a.jpg", "photos/IMG_1.HEIC", "photos/b.dng", "photos/trip/c.MOV", "photos/d.svg", "photos/notes.txt")
    touch("photos/e", "photos/.hidden.jpg", "photos/.secret/f.jpg")
    touch("photos/._a.jpg", "photos/.DS_Store", "photos/Thumbs.db", "photos/desktop.ini")
    assert names("photos", recursive=True) == ["a"]
    reasons = left_out("photos")
    assert reasons == {
        "photos/.hidden.jpg": "hidden",
        "photos/IMG_1.HEIC": "HEIC needs pip install pillow-heif",
        "photos/b.dng": "a raw camera file: export it as JPEG or TIFF",
        "photos/d.svg": "no pixels but drawing commands: export it as PNG",
        "photos/e": "not named as an image: give a file by its own name",
        "photos/notes.txt": "not named as an image: give a file by its own name",
        "photos/trip/c.MOV": "a video: extract its frames as images",
    }
    assert left_out("photos", recursive=False)["photos/trip"] == "a folder: --recursive goes into it"
    assert "photos/trip/c.MOV" in left_out("photos/**/*")
    assert left_out("photos", "photos/e").keys() == reasons.keys() - {"photos/e"}


def test_what_is_left_out_is_described_by_reason():
    reasons = {f"x/{index}.heic": "needs more" for index in range(5)} | {"x/y.txt": "text"}
    assert describe_left_out(reasons) == "6 files were left out: 0.heic, 1.heic, 2.heic, ... (needs more); y.txt (text)"
    assert describe_left_out({"y.txt": "text"}) == "1 file was left out: y.txt (text)"
    folder = {"x/y": "a folder: --recursive goes into it"}
    assert describe_left_out(folder) == "1 folder was left out: y (a folder: --recursive goes into it)"
    assert describe_left_out(reasons | folder).startswith("7 files or folders were left out: 0.heic")


def test_linked_folders_are_entered_once():
    touch("photos/a.jpg", "photos/real/b.jpg", "photos/.store/c.jpg", "elsewhere/d.jpg", "elsewhere/deep/e.jpg")
    for name, target in (("1", "real"), ("2", ".store"), ("3", "../elsewhere"), ("up", "../photos"), ("top", "..")):
        Path("photos", name).symlink_to(target)
    Path("elsewhere/deep/back").symlink_to("..")
    Path("photos/real/self").symlink_to(".")
    assert names("photos", recursive=True) == ["a", "real/b", "2/c", "3/d", "3/deep/e"]
    assert left_out("photos") == {"photos/top": "a link to a folder that holds this one"}
    assert names("photos") == ["a"]


def test_a_link_to_the_output_is_not_followed():
    touch("photos/a.jpg", "out/a_overlay.png")
    Path("photos/results").symlink_to("../out")
    assert names("photos", recursive=True) == ["a"]


def test_folders_whose_names_look_like_patterns():
    touch("trip [2020]/a.jpg", "trip [2020]/b.png", "trip *new*/c.jpg")
    assert names("trip [2020]") == ["a", "b"]
    assert names("trip [2020]/*.png") == ["b"]
    assert names("trip *new*/*.jpg") == ["c"]


def test_names_that_differ_in_case_alone():
    touch("photos/Cat.jpg", "photos/cat.png", "photos/dog.jpg", "photos/dog.JPG")
    found = names("photos")
    assert sorted(found)[:2] == ["Cat.jpg", "cat.png"]
    assert len({name.lower() for name in found}) == len(set(found)) == 4
