"""Which part of the page does what, and when."""

from typing import Any

import gradio as gr

from catseg.app.handlers import Handlers
from catseg.app.page import Page, components

COMPUTING: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}  # what waits for the model
_PRIVATE: dict[str, Any] = {"api_visibility": "private"}
_LIGHT: dict[str, Any] = {**_PRIVATE, "concurrency_limit": 4, "show_progress": "hidden"}


def connect(page: Page, handlers: Handlers, blocks: gr.Blocks) -> None:
    """Connect the page with its handlers, inside of `gr.Blocks`."""
    inputs, outputs = page.inputs, page.outputs
    shown = [outputs.status, outputs.results]
    blocks.load(handlers.restore, None, page.linked, **_LIGHT)
    blocks.unload(handlers.leave)
    inputs.photo.input(handlers.take, inputs.photo, [*shown, inputs.photo], **_LIGHT)
    inputs.examples.choose(handlers.choose, None, [*shown, inputs.photo, inputs.words, inputs.vocabulary], **_LIGHT)
    named = [inputs.words, inputs.vocabulary, inputs.model, inputs.device]
    gr.on(
        [part.change for part in named],
        handlers.count,
        named,
        inputs.note,
        queue=False,
        trigger_mode="always_last",
        **_PRIVATE,
        show_progress="hidden",
    )
    _connect_results(page, handlers)
    _connect_extras(page, handlers)


def _connect_results(page: Page, handlers: Handlers) -> None:
    inputs, outputs = page.inputs, page.outputs
    look = components(page.settings)
    asked = [inputs.words, inputs.vocabulary, inputs.model, inputs.device, *look]
    run = gr.on(
        [inputs.run.click, inputs.words.submit],
        handlers.run,
        asked,
        components(outputs),
        trigger_mode="multiple",  # with "once", Segment does nothing for a while after Cancel
        show_progress="hidden",
        **_PRIVATE,
        **COMPUTING,
    )
    run.then(None, page.linked, None, js="(...values) => { window.catseg.link(...values); }", **_PRIVATE)
    inputs.cancel.click(handlers.cancelled, None, outputs.status, cancels=[run], queue=False, **_PRIVATE)
    drawn = [outputs.status, outputs.comparison, outputs.regions, outputs.classes]
    threshold, opacity, background = look
    changes = [threshold.change, background.submit, background.blur]
    gr.on(changes, handlers.redraw, look, drawn, trigger_mode="always_last", **_LIGHT)
    opacity.change(handlers.recolour, look, drawn[:2], trigger_mode="always_last", **_LIGHT)
    outputs.classes.toggle(handlers.toggle, look, drawn[:3], trigger_mode="multiple", **_LIGHT)
    outputs.shown_class.input(
        handlers.probability, outputs.shown_class, [outputs.status, outputs.probability], **_LIGHT
    )


def _connect_extras(page: Page, handlers: Handlers) -> None:
    extras, outputs = page.extras, page.outputs
    for kind, button in extras.downloads.items():
        made = button.click(
            handlers.downloading(kind), components(page.settings), [extras.file, outputs.status], **_LIGHT
        )
        made.then(None, extras.file, None, js="(file) => { window.catseg.save(file); }", **_PRIVATE)
    extras.copy.click(None, page.linked, extras.link, js="(...values) => window.catseg.copy(...values)", **_PRIVATE)
    extras.theme.click(None, None, None, js="() => { window.catseg.theme(); }", **_PRIVATE)
