import pytest

from catseg.pages.gallery import write_gallery
from tests.pages.html import Page

RECORD = {
    "name": "trip/a b.jpg",
    "classes": {"<b>sofa</b>": 0.6, "cat": 0.3},
    "files": {"overlay": "trip/a b#1_overlay.png", "labels": "trip/a b#1_labels.png"},
}


def page(tmp_path, records=(RECORD,), classes=("<b>sofa</b>", "cat", "dog"), **options):
    path = tmp_path / "index.html"
    write_gallery(path, records, classes, **{"failed": {}, "trained": True} | options)
    return Page(path.read_text(encoding="utf-8"))


def test_names_are_escaped_and_links_quoted(tmp_path):
    found = page(tmp_path)
    assert "b" not in found.tags
    assert "<b>sofa</b>" in found.texts
    assert "trip/a b.jpg" in found.texts
    overlay, labels = "trip/a%20b%231_overlay.png", "trip/a%20b%231_labels.png"
    assert found.links == [overlay, overlay, overlay, labels]


def test_file_names_that_are_no_unicode(tmp_path):
    record = RECORD | {"name": "caf\udce9.jpg", "files": {"overlay": "caf\udce9_overlay.png"}}
    found = page(tmp_path, [record])
    assert "caf?.jpg" in found.texts
    assert set(found.links) == {"caf%E9_overlay.png"}


def test_videos_can_be_played(tmp_path):
    files = {"overlay": "a_overlay.mp4", "labels": "a"}
    assert {"video", "img"} & set(page(tmp_path, [RECORD | {"files": files}]).tags) == {"video"}
    assert {"video", "img"} & set(page(tmp_path).tags) == {"img"}


def test_notes(tmp_path):
    assert not [word for word in page(tmp_path).texts if "random" in word]
    found = page(tmp_path, failed={"a<1>.jpg": "damaged"}, trained=False)
    assert "The network has no trained weights: these results are random." in found.texts
    assert "a<1>.jpg: damaged" in found.texts


@pytest.mark.parametrize("count", [6, 7, 100])
def test_many_classes_are_cut(tmp_path, count):
    names = [f"class {i}" for i in range(count)]
    found = page(tmp_path, [RECORD | {"classes": dict.fromkeys(names, 1 / count)}], names)
    assert sum(word.startswith("class ") for word in found.texts) == 6
    assert (f"and {count - 6} more" in found.texts) == (count > 6)


def test_no_images(tmp_path):
    assert "images: 0 · classes looked for: 3" in page(tmp_path, []).texts
