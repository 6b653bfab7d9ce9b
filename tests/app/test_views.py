import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from catseg.app import drawing, markup
from catseg.app.downloads import KINDS, download
from catseg.app.drawing import Region, Share
from catseg.app.examples import drawn_examples
from catseg.app.sessions import Session
from catseg.app.views import Look, view
from catseg.app.words import Words
from catseg.errors import InputError
from catseg.vocabulary import Vocabulary
from tests.fake_module import fake_model


def session(width=60, names=("left", "right"), **options):
    image = np.random.default_rng(0).integers(1, 255, (40, width, 3), dtype=np.uint8)
    return Session(result=fake_model().segment(image, list(names), threshold=0), **options)


def decoded(url):
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def test_threshold_and_background_are_those_of_a_call():
    image = np.full((40, 60, 3), 9, np.uint8)
    for threshold, background in ((0.5, None), (0.8, None), (0.8, "other")):
        seen = view(session(), Look(threshold, 0.5, background or "")).all_classes
        wanted = fake_model().segment(image, ["left", "right"], threshold=threshold, background=background)
        assert seen.names == wanted.names
        assert (seen.labels == wanted.labels).all()


def test_switched_off_classes_are_neither_drawn_nor_downloaded_but_listed():
    seen = view(session(hidden={"left"}), Look(0.5, 1))
    assert (seen.shown.labels[:, :30] == -1).all()
    assert [(row.key, row.shown, row.share) for row in seen.table()] == [("left", False, 0.5), ("right", True, 0.5)]
    saved = np.asarray(decoded(download("labels", seen.shown, 0.5).url))
    assert set(np.unique(saved)) == {1, 255}
    assert [a["category_id"] for a in json.loads(download("coco", seen.shown, 0.5).content)["annotations"]] == [2]


def test_a_background_is_as_probable_as_all_else_is_not():
    (row,) = view(session(), Look(0.8, 0.5, "other")).table()
    assert (row.key, row.share, row.score) == ("other", 1, pytest.approx(0.25))


def test_pictures_fit_a_screen():
    for width, side in ((60, 540), (2000, 1280)):
        seen = view(session(width), Look(0.5, 0.5))
        image, overlay = seen.comparison()
        assert image.shape == overlay.shape
        assert image.shape[1] == side
        base, regions = seen.regions()
        assert all(region.mask.shape == base.shape[:2] for region in regions)
        assert seen.confidence().shape[0] == image.shape[0]
        assert seen.probability("left").shape[0] == image.shape[0]


def test_opacity_changes_the_overlay():
    faint, strong = (view(session(), Look(0.5, opacity)).comparison()[1] for opacity in (0.1, 0.9))
    assert np.abs(faint.astype(int) - strong).mean() > 10


def test_only_the_largest_classes_light_up_one_by_one():
    names = [f"class {number}" for number in range(30)]
    result = fake_model().segment(np.full((60, 60, 3), 9, np.uint8), names, threshold=0)
    result.labels[:] = np.arange(60)[:, None] // 2
    _, regions = drawing.regions(result)
    assert len(regions) == drawing.HOVERED + 1
    assert regions[-1].label == "10 more"
    assert regions[-1].mask.mean() == pytest.approx(1 / 3)
    assert set(drawing.color_map(regions)) == {region.label for region in regions}


def test_a_mask_is_its_colour_and_nothing():
    mask = np.zeros((4, 6), bool)
    mask[:2] = True
    image = np.asarray(decoded(drawing.mask_url(Region(mask, "a", "#0a141e"))).convert("RGBA"))
    assert image[0, 0].tolist()[:3] == [10, 20, 30]
    assert 100 < image[0, 0, 3] < 255
    assert image[3, 0, 3] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_downloads(kind):
    made = download(kind, view(session(), Look(0.5, 0.5)).shown, 0.5)
    assert made.name == f"image_{kind}.{'png' if kind in ('overlay', 'labels') else 'json'}"
    if made.kind == "image/png":
        assert decoded(made.url).format == "PNG"
    else:
        assert "left" in json.dumps(json.loads(made.content))


def test_what_cannot_be_shown():
    with pytest.raises(InputError, match="no download 'exe', but overlay"):
        download("exe", session().result, 0.5)
    with pytest.raises(InputError, match="no result yet"):
        view(Session(), Look(0.5, 0.5))
    for wrong in (-1, 2, "x", None, float("nan"), True):
        with pytest.raises(InputError, match="from 0 to 1"):
            Look(wrong, 0.5)
    with pytest.raises(InputError, match="repeats"):
        view(session(), Look(0.5, 0.5, "left")).table()


def test_markup_is_escaped():
    evil = '<img src=x onerror="alert(1)">'
    pieces = [
        markup.status(evil),
        markup.problem(evil),
        markup.working(evil),
        markup.count(Words(Vocabulary([evil]), (evil,))),
        markup.count(Words(problem=evil)),
        markup.classes([Share(evil, evil, "#000000", 0.5, 0.5, True)]),
    ]
    assert all("<img" not in piece and "&lt;img" in piece for piece in pieces)


def test_long_lists_are_folded():
    rows = [Share(f"n{number}", f"n{number}", "#000000", 0.001, 0.5, True) for number in range(130)]
    assert markup.classes(rows).count('type="checkbox"') == 100
    assert "and 30 more classes" in markup.classes(rows)
    assert "and 5 more such notes" in markup.count(Words(notes=tuple("abcdefghijklmno")))
    assert "below the threshold" in markup.classes([])


def test_examples_are_images_with_names():
    examples = drawn_examples()
    assert examples == drawn_examples()
    assert {Image.open(io.BytesIO(example.content)).size for example in examples} == {(64, 64)}
    assert markup.examples(examples).count("<button") == len(examples) == 3
