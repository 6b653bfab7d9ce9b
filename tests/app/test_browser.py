"""The page in a real browser. Screenshots go into CATSEG_SCREENSHOTS, by default a temporary folder.

Without a browser these tests are skipped, unless CATSEG_BROWSER_TESTS is "required".
"""

import importlib.util
import json
import os
import re
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.app.conftest import Counting, make_service, picture

PATIENCE = 60_000  # milliseconds: machines are busy with other work
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DONE = re.compile(r"Done: \d+ of \d+ names found")


def executable():
    """The browser, or why there is none."""
    for package in ("gradio", "playwright"):
        if importlib.util.find_spec(package) is None:
            return None, f"the package {package} is not installed"
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return found, f"none of {', '.join(BROWSERS)} is installed: bash tools/install_browser.sh"


@pytest.fixture(scope="module")
def browser():
    path, reason = executable()
    if path is None:
        if os.environ.get("CATSEG_BROWSER_TESTS") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # tests may run as root
        yield started
        started.close()


@pytest.fixture(scope="module")
def module():
    return Counting()


@pytest.fixture(scope="module")
def address(browser, module):
    from catseg.app.server import Access, serving

    with serving(make_service(module), Access()) as (local, _):
        yield local


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory):
    folder = Path(os.environ.get("CATSEG_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def open_page(browser, address):
    """Opens the page in a browser of its own; what goes wrong in it fails the test."""
    contexts, wrong = [], []

    def open_one(query="", **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 1000}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: wrong.append(request.url) if is_elsewhere(request.url, address) else None)
        with page.expect_response(lambda response: "/queue/join" in response.url):  # the page is alive and asks
            page.goto(address + query)
        page.wait_for_selector("#catseg-run")
        page.wait_for_selector("#catseg-photo input[type=file]", state="attached")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert wrong == [], "errors in the page, or requests to elsewhere"


def is_elsewhere(url, address):
    return not url.startswith((address, "data:", "blob:"))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "holiday.png"
    path.write_bytes(picture(300, 200))
    return path


def status(page):
    return page.locator("#catseg-status")


def says(page, text):
    page.locator("#catseg-status", has_text=text).wait_for()


def give(page, path, words="left, right"):
    page.set_input_files("#catseg-photo input[type=file]", path)
    says(page, "holiday.png, 300 x 200 pixels")
    page.fill("#catseg-words textarea", words)


def segment(page):
    page.click("#catseg-run")
    says(page, DONE)


def pixels(page, selector):
    """The colours of an image of the page, (H, W, 4)."""
    found = page.locator(selector).first
    found.wait_for()
    values = found.evaluate(
        """async (image) => {
            await image.decode();
            const canvas = Object.assign(document.createElement('canvas'), {width: 60, height: 40});
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0, 60, 40);
            return [...context.getImageData(0, 0, 60, 40).data];
        }"""
    )
    return np.array(values).reshape(40, 60, 4)


def until(look, is_right):
    """Look again and again until what is there is right."""
    end = time.monotonic() + PATIENCE / 1000
    while not is_right(found := look()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.2)
    return found


def test_upload_type_segment_hover_toggle_download(open_page, photo, module, screenshots, tmp_path):
    page = open_page()
    page.screenshot(path=screenshots / "1_empty.png", full_page=True)
    give(page, photo, "left, right, LEFT")
    page.locator("#catseg-note", has_text="repeats name 1: left out").wait_for()
    assert page.locator("#catseg-note p").inner_text() == "2 names"
    segment(page)
    rows = [text.split() for text in page.locator("#catseg-classes tbody tr").all_inner_texts()]
    assert rows == [["left", "50.0", "%", "0.75"], ["right", "50.0", "%", "0.75"]]
    page.screenshot(path=screenshots / "2_compared.png", full_page=True)
    files = [path for path in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if path.is_file()]
    assert files == [], "uploads and pictures are kept in no file"

    page.get_by_role("tab", name="Light up").click()
    page.locator("#catseg-regions .legend-item", has_text="right").hover()
    page.locator("#catseg-regions img.mask.active").wait_for()
    assert page.locator("#catseg-regions img.mask.active").count() == 1
    lit = pixels(page, "#catseg-regions img.mask.active")
    assert lit[:, 35:, 3].min() > 0
    assert lit[:, :25, 3].max() == 0
    page.screenshot(path=screenshots / "3_lit.png")

    page.get_by_role("tab", name="Compare").click()
    before = pixels(page, "#catseg-comparison img >> nth=1")
    encoded = module.encoded
    page.get_by_label("left", exact=True).uncheck()
    # What is switched off is drawn without its colour, the other class stays as it is.
    after = until(
        lambda: pixels(page, "#catseg-comparison img >> nth=1"),
        lambda after: np.abs(after[:, :25] - before[:, :25]).mean() > 5,
    )
    assert np.abs(after[5:35, 40:] - before[5:35, 40:]).mean() < 2

    for kind, suffix in (("overlay", "png"), ("labels", "png"), ("coco", "json"), ("labelme", "json")):
        with page.expect_download() as download:
            page.click(f"#catseg-download-{kind}")
        assert download.value.suggested_filename == f"holiday_{kind}.{suffix}"
        download.value.save_as(tmp_path / kind)
    labels = np.asarray(Image.open(tmp_path / "labels"))
    assert (labels[:, :150] == 255).all()
    assert (labels[:, 150:] == 1).all()
    assert [shape["label"] for shape in json.loads((tmp_path / "labelme").read_text())["shapes"]] == ["right"]

    page.fill("#catseg-words textarea", "this, that, more")
    page.press("#catseg-words textarea", "Enter")
    page.locator("#catseg-classes tbody tr", has_text="this").wait_for()
    assert module.encoded == encoded, "other words do not encode the image again"


def test_threshold_background_and_one_class(open_page, photo, module, screenshots):
    page = open_page()
    give(page, photo)
    segment(page)
    encoded = module.encoded
    page.fill("#catseg-threshold input[type=number]", "0.9")
    page.press("#catseg-threshold input[type=number]", "Tab")
    page.locator("#catseg-classes", has_text="every pixel is below the threshold").wait_for()
    page.fill("#catseg-background input, #catseg-background textarea", "anything else")
    page.press("#catseg-background input, #catseg-background textarea", "Enter")
    page.locator("#catseg-classes tbody tr", has_text="anything else").wait_for()
    page.get_by_role("tab", name="Confidence").click()
    page.locator("#catseg-confidence img").wait_for()
    page.get_by_role("tab", name="One class").click()
    page.locator("#catseg-probability img").wait_for()
    left = pixels(page, "#catseg-probability img")
    page.click("#catseg-class input")
    page.get_by_role("option", name="right").click()
    until(lambda: pixels(page, "#catseg-probability img"), lambda right: np.abs(right - left).mean() > 5)
    page.screenshot(path=screenshots / "4_one_class.png", full_page=True)
    assert module.encoded == encoded


def test_examples_and_a_link_that_restores_words_and_settings(open_page, screenshots):
    page = open_page()
    page.locator(".catseg-example").nth(1).click()
    says(page, "example2.png")
    assert page.input_value("#catseg-words textarea").startswith("green dotted patch, ")
    segment(page)
    page.fill("#catseg-opacity input[type=number]", "0.8")
    page.press("#catseg-opacity input[type=number]", "Tab")
    page.click("#catseg-copy")
    link = page.locator("#catseg-link input, #catseg-link textarea")
    page.wait_for_function("document.querySelector('#catseg-link input, #catseg-link textarea').value != ''")
    query = "?" + link.input_value().partition("?")[2]
    assert page.url.endswith(query)
    again = open_page(query)
    until(lambda: again.input_value("#catseg-words textarea"), lambda text: text.startswith("green dotted patch, "))
    assert shown_setting(again, "opacity") == 0.8
    wrong = open_page("?words=a%2Cb&model=nothing&threshold=7&vocabulary=../x&background=%3Cimg%20src=x%3E")
    until(lambda: wrong.input_value("#catseg-words textarea"), lambda text: text == "a,b")
    assert shown_setting(wrong, "threshold") == 0.5


def shown_setting(page, name):
    page.locator(".catseg-example").first.click()
    says(page, "example1.png")
    segment(page)
    return float(page.locator(f"#catseg-{name} input[type=number]").input_value())


def test_errors_are_readable_in_the_page(open_page, photo, tmp_path, screenshots):
    page = open_page()
    page.click("#catseg-run")
    says(page, "Not done: no image: drop one")
    give(page, photo, "")
    page.click("#catseg-run")
    says(page, "Not done: no names: write what to look for")
    page.fill("#catseg-words textarea", "a,,<b>")
    page.locator("#catseg-note", has_text="name 2 of your names has an empty name").wait_for()
    page.click("#catseg-run")
    says(page, "empty name")
    page.screenshot(path=screenshots / "5_error.png")
    assert page.get_by_role("alert").count() >= 1
    (tmp_path / "text.png").write_text("no image")
    page.get_by_label("Clear").or_(page.get_by_label("Remove Image")).first.click()
    says(page, "No image.")
    page.set_input_files("#catseg-photo input[type=file]", tmp_path / "text.png")
    says(page, "Not done: the file is no image")
    (tmp_path / "large.png").write_bytes(picture(900, 900))
    page.set_input_files("#catseg-photo input[type=file]", tmp_path / "large.png")
    page.get_by_text(re.compile("exceed|too large|maximum", re.IGNORECASE)).first.wait_for()
    page.screenshot(path=screenshots / "6_too_large.png")


def test_progress_and_cancel(open_page, photo, module, monkeypatch, screenshots):
    page = open_page()
    give(page, photo)
    go_on, real = threading.Event(), module.encode_image
    monkeypatch.setattr(module, "encode_image", lambda item: go_on.wait(20) and real(item))
    try:
        page.click("#catseg-run")
        says(page, "Looking at the image")
        page.screenshot(path=screenshots / "7_progress.png")
        page.click("#catseg-cancel")
        says(page, "Cancelled.")
    finally:
        go_on.set()
    segment(page)


def test_phone_width(open_page, photo, screenshots):
    page = open_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True, device_scale_factor=2)
    give(page, photo, "left, a name that is rather long for the width of a phone, right")
    segment(page)
    # Gradio folds tabs that have no room into a menu, a moment after it shows them.
    until(lambda: page.evaluate("document.documentElement.scrollWidth"), lambda width: width <= 390)
    outside = page.evaluate(
        """[...document.querySelectorAll('button:not([tabindex="-1"]), input, textarea, table, img')]
            .filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > 391)
            .map((element) => element.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    page.screenshot(path=screenshots / "8_phone.png", full_page=True)


def test_dark_mode(open_page, photo, screenshots):
    page = open_page(color_scheme="dark")
    give(page, photo)
    segment(page)
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    assert max(page.evaluate(brightness)) < 80
    page.screenshot(path=screenshots / "9_dark.png", full_page=True)
    page.click("#catseg-theme")
    until(lambda: page.evaluate(brightness), lambda values: min(values) > 200)


def focused(page, selector):
    """Go on by Tab until something is focused."""
    for _ in range(60):
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{selector} is not reached by Tab")


def file_chooser(page):
    """Open it by keys; the part of the page that does it may be loaded a little later than the others."""
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    for _ in range(20):
        focused(page, "#catseg-photo button")
        page.keyboard.press("Enter")
        page.wait_for_timeout(1000)
        if choosers:
            return choosers[0]
    pytest.fail("no file can be chosen by keyboard")


def test_keyboard_alone(open_page, photo, screenshots):
    page = open_page()
    file_chooser(page).set_files(photo)
    says(page, "holiday.png")
    focused(page, "#catseg-words textarea")
    page.keyboard.type("left, right")
    focused(page, "#catseg-run")
    page.keyboard.press("Enter")
    says(page, DONE)
    focused(page, "#catseg-vocabulary input")
    focused(page, "[role=tab][aria-selected=true]")
    until(page.locator("[role=listbox]").count, lambda count: count == 0)  # lists close when they are left
    focused(page, "#catseg-comparison [role=slider]")
    border = page.locator("#catseg-comparison [role=slider]")
    before = border.bounding_box()["x"]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert border.bounding_box()["x"] > before + 30
    page.screenshot(path=screenshots / "10_keyboard.png")
    focused(page, "#catseg-threshold input[type=range]")
    page.keyboard.press("End")
    page.locator("#catseg-classes", has_text="every pixel is below the threshold").wait_for()
    page.keyboard.press("Home")
    page.locator("#catseg-classes tbody tr", has_text="left").wait_for()
    focused(page, "#catseg-classes input")
    page.keyboard.press("Space")
    assert not page.locator("#catseg-classes input").first.is_checked()
    focused(page, "#catseg-download-labels")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "holiday_labels.png"


def test_two_users_at_once(open_page, photo, tmp_path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "holiday.png"
    other.write_bytes(picture(300, 200, seed=1))
    pages = [open_page(), open_page()]
    for page, path, words in zip(pages, (photo, other), ("mine, yours", "these, those"), strict=True):
        give(page, path, words)
    for page in pages:
        page.click("#catseg-run")
    for page, path, word in zip(pages, (photo, other), ("mine", "these"), strict=True):
        says(page, DONE)
        assert page.locator("#catseg-classes tbody label").first.inner_text() == word
        shown = pixels(page, "#catseg-comparison img")
        wanted = np.asarray(Image.open(path).convert("RGB").resize((60, 40), Image.Resampling.BILINEAR))
        assert np.abs(shown[..., :3] - wanted).mean() < 12
    pages[0].get_by_label("mine", exact=True).uncheck()
    pages[1].click("#catseg-run")
    says(pages[1], DONE)
    assert pages[1].locator("#catseg-classes input").first.is_checked()
