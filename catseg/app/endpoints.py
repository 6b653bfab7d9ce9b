"""The HTTP API: the same functions for programs, in one call each; images come back inside of the answer."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from catseg.api.request import THRESHOLD
from catseg.app.components import PhotoInput, Upload, given
from catseg.app.downloads import KINDS, download
from catseg.app.events import COMPUTING
from catseg.app.handlers import session_key, take
from catseg.app.page import OPACITY
from catseg.app.service import OWN_WORDS, Ask, Service
from catseg.app.told import for_client
from catseg.app.views import Look, view
from catseg.errors import InputError
from catseg.vocabulary import shipped_vocabularies

_SEGMENT = """Segment an image. Returns a JSON object: `width` and `height`; `names`; `classes`, from name to share of
the pixels; `mean_confidence`; `notes` on names; and `files`, from kind to `name` and `url`, which is the file itself as
a data: URL in base64. Names have commas between classes and | between synonyms; `vocabulary` is the name of a
benchmark's vocabulary instead. `files` are overlay, labels, coco, labelme with commas between."""


def add_endpoints(service: Service) -> None:
    """Add the API, inside of `gr.Blocks`."""
    with gr.Column(visible=False):
        inputs = [
            PhotoInput(label="image"),
            gr.Textbox(label="words"),
            gr.Textbox(OWN_WORDS, label="vocabulary"),
            gr.Number(THRESHOLD, label="threshold"),
            gr.Textbox("", label="background"),
            gr.Textbox("labels", label="files"),
            gr.Number(OPACITY, label="opacity"),
            gr.Textbox(service.shelf.default_model, label="model"),
            gr.Textbox(service.shelf.default_device, label="device"),
        ]
        answer = gr.JSON(label="result")
        gr.Button().click(
            segmenting(service),
            inputs,
            answer,
            api_name="segment",
            api_description=_SEGMENT,
            **COMPUTING,
        )
    gr.api(counting(service), api_name="names", concurrency_limit=4)
    gr.api(telling(service), api_name="models", concurrency_limit=4)


def segmenting(service: Service) -> Callable[..., dict[str, Any]]:
    """Return the function behind `/segment`."""

    def segment(
        image: Upload | None,
        words: str,
        vocabulary: str,
        threshold: float,
        background: str,
        files: str,
        opacity: float,
        model: str,
        device: str,
        request: gr.Request,
    ) -> dict[str, Any]:
        try:
            kinds = [kind.strip() for kind in files.split(",") if kind.strip()]
            if unknown := [kind for kind in kinds if kind not in KINDS]:
                raise InputError(f"files are some of {', '.join(KINDS)}, got {', '.join(unknown)}")
            look = Look(threshold, opacity, background)
            session = service.sessions.get(session_key(request))
            session.show(take(given(image), service.limits))
            ask = Ask(words, vocabulary, model, device)
            for _ in service.segment(session, ask):
                pass
            found = view(session, look).shown
            height, width = found.labels.shape
            made = {kind: download(kind, found, opacity) for kind in kinds}
            return {
                "width": width,
                "height": height,
                "names": list(found.names),
                "classes": found.share(),
                "mean_confidence": float(found.scores.mean()),
                "notes": list(service.read(ask).notes),
                "files": {kind: {"name": file.name, "url": file.url} for kind, file in made.items()},
            }
        except Exception as error:
            raise for_client(error) from None

    return segment


def counting(service: Service) -> Callable[..., dict[str, Any]]:
    """Return the function behind `/names`."""

    def names(words: str, vocabulary: str = OWN_WORDS) -> dict:
        """Say what names mean: their number, the classes, notes on what is cut or repeated, and what is wrong."""
        try:
            ask = Ask(words, vocabulary, service.shelf.default_model, service.shelf.default_device)
            found = service.read(ask)
        except Exception as error:
            raise for_client(error) from None
        classes = list(found.classes or ())
        return {"count": len(classes), "names": classes, "notes": list(found.notes), "problem": found.problem}

    return names


def telling(service: Service) -> Callable[[], dict[str, Any]]:
    """Return the function behind `/models`."""

    def models() -> dict:
        """Say what there is to choose from, and what the limits are."""
        limits = service.limits
        return {
            "models": list(service.shelf.models),
            "devices": list(service.shelf.devices),
            "vocabularies": list(shipped_vocabularies()),
            "limits": {
                "megabytes": limits.megabytes,
                "megapixels": limits.megapixels,
                "names": limits.names,
                "seconds": limits.seconds,
                "queue": limits.queue,
            },
        }

    return models
