"""The page: its parts and their order. What they do is in `handlers`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from catseg.api.request import THRESHOLD
from catseg.app import markup
from catseg.app.components import Comparison, PhotoInput, Picture, Regions
from catseg.app.downloads import KINDS
from catseg.app.examples import Example
from catseg.app.service import OWN_WORDS, Service
from catseg.vocabulary import load_vocabulary, shipped_vocabularies

TITLE = "catseg: name things, see which pixel is which"
OPACITY = 0.5

_EXAMPLES_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-example]');
  if (button) trigger('choose', {number: Number(button.dataset.example)});
});
"""
_CLASSES_JS = """
element.addEventListener('change', (event) => {
  const name = event.target.dataset.class;
  if (name !== undefined) trigger('toggle', {name: name, shown: event.target.checked});
});
"""


@dataclass(frozen=True)
class Inputs:
    """What one gives: an image, names, and a model."""

    photo: PhotoInput
    examples: gr.HTML
    words: gr.Textbox
    note: gr.HTML
    vocabulary: gr.Dropdown
    model: gr.Dropdown
    device: gr.Dropdown
    run: gr.Button
    cancel: gr.Button


@dataclass(frozen=True)
class Settings:
    """How results are shown."""

    threshold: gr.Slider
    opacity: gr.Slider
    background: gr.Textbox


@dataclass(frozen=True)
class Outputs:
    """What one gets."""

    status: gr.HTML
    results: gr.Column
    comparison: Comparison
    regions: Regions
    confidence: Picture
    shown_class: gr.Dropdown
    probability: Picture
    classes: gr.HTML


@dataclass(frozen=True)
class Extras:
    """Downloads and links."""

    downloads: dict[str, gr.Button]
    file: gr.JSON
    copy: gr.Button
    link: gr.Textbox
    theme: gr.Button


@dataclass(frozen=True)
class Page:
    """All parts of the page."""

    inputs: Inputs
    settings: Settings
    outputs: Outputs
    extras: Extras

    @property
    def linked(self) -> list[Any]:
        """What a link restores, in the order of `page.js`."""
        inputs, settings = self.inputs, self.settings
        return [
            inputs.words,
            inputs.vocabulary,
            inputs.model,
            settings.threshold,
            settings.opacity,
            settings.background,
        ]


def components(part: Any) -> list[Any]:
    """Return the components of one of the parts above, in order."""
    return [getattr(part, field.name) for field in fields(part)]


def lay_out(service: Service, examples: Sequence[Example]) -> Page:
    """Put the page together, inside of `gr.Blocks`."""
    with gr.Row():
        gr.Markdown(
            "# catseg\nName things, and see which pixel is which.",
            elem_id="catseg-title",
        )
        theme = gr.Button("Dark or light", size="sm", elem_id="catseg-theme")
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            inputs = _inputs(service, examples)
        with gr.Column(scale=3, min_width=320):
            status = gr.HTML(
                markup.status("Give an image and names, then press Segment."),
                apply_default_css=False,
                elem_id="catseg-status",
            )
            with gr.Column(visible=False) as results:
                pictures = _pictures()
                settings = _settings()
                classes = gr.HTML(js_on_load=_CLASSES_JS, apply_default_css=False, elem_id="catseg-classes")
                downloads, file = _downloads()
            with gr.Row():
                copy = gr.Button("Copy a link to these names and settings", size="sm", elem_id="catseg-copy")
                link = gr.Textbox(
                    label="Link",
                    show_label=False,
                    placeholder="link",
                    interactive=False,
                    max_lines=1,
                    container=False,
                    elem_id="catseg-link",
                )
    gr.Markdown(
        f"{service.limits.describe()} Images are kept in memory alone, for you alone, and forgotten when you leave.",
        elem_id="catseg-limits",
    )
    return Page(
        inputs,
        settings,
        Outputs(status, results, *pictures, classes),
        Extras(downloads, file, copy, link, theme),
    )


def _inputs(service: Service, examples: Sequence[Example]) -> Inputs:
    shelf = service.shelf
    photo = PhotoInput(
        label="Image: drop, paste, photograph or choose one",
        sources=["upload", "webcam", "clipboard"],
        height=300,
        buttons=["fullscreen"],
        elem_id="catseg-photo",
    )
    shown = gr.HTML(
        markup.examples(examples), js_on_load=_EXAMPLES_JS, apply_default_css=False, elem_id="catseg-examples"
    )
    words = gr.Textbox(
        label="Names",
        info="Commas between classes, | between synonyms. Enter segments.",
        placeholder="sofa, night sky, cat | kitten",
        lines=1,
        max_lines=6,
        max_length=service.limits.characters,
        elem_id="catseg-words",
    )
    note = gr.HTML(apply_default_css=False, elem_id="catseg-note")
    with gr.Row():
        run = gr.Button("Segment", variant="primary", min_width=120, elem_id="catseg-run")
        cancel = gr.Button("Cancel", min_width=120, elem_id="catseg-cancel")
    vocabularies = [(f"{name}, {len(load_vocabulary(name))} names", name) for name in shipped_vocabularies()]
    vocabulary = gr.Dropdown(
        [("the names above", OWN_WORDS), *vocabularies],
        value=OWN_WORDS,
        label="Vocabulary",
        info="Or all names of a benchmark",
        filterable=False,
        elem_id="catseg-vocabulary",
    )
    with gr.Row():
        model = gr.Dropdown(
            list(shelf.models), filterable=False, value=shelf.default_model, label="Model", elem_id="catseg-model"
        )
        device = gr.Dropdown(
            shelf.devices, filterable=False, value=shelf.default_device, label="Device", elem_id="catseg-device"
        )
    return Inputs(photo, shown, words, note, vocabulary, model, device, run, cancel)


def _pictures() -> tuple[Comparison, Regions, Picture, gr.Dropdown, Picture]:
    with gr.Tabs():
        with gr.Tab("Compare"):
            comparison = Comparison(
                label="Image and classes", interactive=False, buttons=["fullscreen"], elem_id="catseg-comparison"
            )
        with gr.Tab("Light up"):
            regions = Regions(label="Point at a name, or at the image", elem_id="catseg-regions")
        with gr.Tab("Confidence"):
            confidence = Picture(
                label="Probability of the chosen class",
                interactive=False,
                buttons=["fullscreen"],
                elem_id="catseg-confidence",
            )
        with gr.Tab("One class"):
            shown_class = gr.Dropdown(label="Class", elem_id="catseg-class")
            probability = Picture(
                label="Its probability", interactive=False, buttons=["fullscreen"], elem_id="catseg-probability"
            )
    return comparison, regions, confidence, shown_class, probability


def _settings() -> Settings:
    with gr.Row():
        threshold = gr.Slider(
            0,
            1,
            THRESHOLD,
            step=0.01,
            label="Threshold",
            info="Less probable is nothing",
            min_width=220,
            elem_id="catseg-threshold",
        )
        opacity = gr.Slider(
            0, 1, OPACITY, step=0.05, label="Opacity", info="How much colour", min_width=220, elem_id="catseg-opacity"
        )
        background = gr.Textbox(
            label="Background",
            info="A name for what is nothing",
            placeholder="none",
            max_lines=1,
            max_length=100,
            min_width=220,
            elem_id="catseg-background",
        )
    return Settings(threshold, opacity, background)


def _downloads() -> tuple[dict[str, gr.Button], gr.JSON]:
    titles = {"overlay": "Overlay", "labels": "Label PNG", "coco": "COCO", "labelme": "labelme"}
    with gr.Row():
        buttons = {
            kind: gr.Button(f"Download {titles[kind]}", size="sm", min_width=120, elem_id=f"catseg-download-{kind}")
            for kind in KINDS
        }
    return buttons, gr.JSON(visible=False)
