"""What the parts of the page do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import wraps
from typing import Any

import gradio as gr

from catseg.app import markup
from catseg.app.components import Upload
from catseg.app.downloads import download
from catseg.app.drawing import color_map
from catseg.app.examples import Example
from catseg.app.limits import Limits
from catseg.app.page import Page
from catseg.app.photos import Photo, read_photo, take_data_url, take_upload
from catseg.app.service import OWN_WORDS, Ask, Service
from catseg.app.sessions import Key, Session
from catseg.app.told import told
from catseg.app.views import Look, View, view
from catseg.app.words import Words
from catseg.errors import InputError
from catseg.vocabulary import shipped_vocabularies

Changes = dict[Any, Any]  # what becomes of components


def session_key(request: gr.Request) -> Key:
    """Tell callers apart."""
    return request.username or "", request.session_hash or ""


def take(upload: Upload, limits: Limits) -> Photo:
    """Read what was given.

    Raises:
        ValueError: if it cannot be used.
    """
    if upload.path is not None:
        return take_upload(upload.path, upload.name, limits)
    return take_data_url(upload.url, upload.name, limits)


def _telling(method: Callable[..., Changes]) -> Callable[..., Changes]:
    """Show errors on the page, and leave the rest of it as it is."""

    @wraps(method)
    def safe(self: "Handlers", *arguments: Any) -> Changes:
        try:
            return method(self, *arguments)
        except Exception as error:
            return {self.page.outputs.status: markup.problem(told(error))}

    return safe


class Handlers:
    """Functions of the page's events. Each returns what changes on the page."""

    def __init__(self, page: Page, service: Service, examples: Sequence[Example]) -> None:
        """Take what they work on."""
        self.page = page
        self._service = service
        self._examples = examples

    def _session(self, request: gr.Request) -> Session:
        return self._service.sessions.get(session_key(request))

    @_telling
    def take(self, upload: Upload | None, request: gr.Request) -> Changes:
        """Take an image that was given, whose file is deleted; or forget the earlier one, if it was taken away."""
        session = self._session(request)
        session.forget_image()
        if upload is None:
            return self._nothing("No image.")
        return self._show(session, take(upload, self._service.limits))

    @_telling
    def choose(self, event: gr.EventData, request: gr.Request) -> Changes:
        """Take an example, with its names."""
        number = getattr(event, "number", None)
        if not isinstance(number, int) or not 0 <= number < len(self._examples):
            raise InputError(f"there is no example {number!r}")
        example = self._examples[number]
        photo = read_photo(example.content, example.name, self._service.limits)
        inputs = self.page.inputs
        return self._show(self._session(request), photo) | {
            inputs.photo: photo.image,
            inputs.words: example.words,
            inputs.vocabulary: OWN_WORDS,
        }

    def leave(self, request: gr.Request) -> None:
        """Forget all of a caller who closes the page."""
        self._service.sessions.forget(session_key(request))

    def count(self, words: str, vocabulary: str, model: str, device: str) -> str:
        """Say what the names mean."""
        try:
            return markup.count(self._service.read(Ask(words, vocabulary, model, device)))
        except Exception as error:
            return markup.count(Words(problem=told(error)))

    def run(
        self,
        words: str,
        vocabulary: str,
        model: str,
        device: str,
        threshold: float,
        opacity: float,
        background: str,
        request: gr.Request,
    ) -> Iterator[Changes]:
        """Segment, telling what is being done."""
        status = self.page.outputs.status
        try:
            look = Look(threshold, opacity, background or "")
            session = self._session(request)
            with closing(self._service.segment(session, Ask(words, vocabulary, model, device))) as work:
                shown = ""
                for stage in work:  # again and again, so that Gradio can end this function
                    yield {status: gr.skip() if stage == shown else markup.working(stage)}
                    shown = stage
            if session.result is None:
                raise InputError("another image was given meanwhile")
            found = session.result
            session.hidden &= set(found.names)
            yield self._result(View(found, look, frozenset(session.hidden)))
        except Exception as error:
            yield {status: markup.problem(told(error))}

    def cancelled(self) -> str:
        """Say that nothing more is coming."""
        return markup.status("Cancelled. What was shown before is unchanged.")

    @_telling
    def redraw(self, threshold: float, opacity: float, background: str, request: gr.Request) -> Changes:
        """Show the result with other settings."""
        session = self._session(request)
        if session.result is None:
            return {self.page.outputs.status: gr.skip()}
        seen = view(session, Look(threshold, opacity, background or ""))
        outputs = self.page.outputs
        return self._pictures(seen) | {outputs.classes: markup.classes(seen.table())}

    @_telling
    def recolour(self, threshold: float, opacity: float, background: str, request: gr.Request) -> Changes:
        """Show the result with more or less colour."""
        session = self._session(request)
        if session.result is None:
            return {self.page.outputs.status: gr.skip()}
        return {self.page.outputs.comparison: view(session, Look(threshold, opacity, background or "")).comparison()}

    @_telling
    def toggle(
        self, threshold: float, opacity: float, background: str, event: gr.EventData, request: gr.Request
    ) -> Changes:
        """Switch a class on or off."""
        session = self._session(request)
        name, shown = str(getattr(event, "name", "")), bool(getattr(event, "shown", True))
        seen = view(session, Look(threshold, opacity, background or ""))
        if name not in seen.all_classes.names:
            raise InputError(f"no class is called {name!r}")
        if shown:
            session.hidden.discard(name)
        else:
            session.hidden.add(name)
        return self._pictures(view(session, seen.look))

    @_telling
    def probability(self, name: str | None, request: gr.Request) -> Changes:
        """Show where one class is probable."""
        session = self._session(request)
        outputs = self.page.outputs
        if name is None or session.result is None or name not in session.result.names:
            return {outputs.probability: None}
        return {outputs.probability: view(session, Look(0, 0)).probability(name)}

    def downloading(self, kind: str) -> Callable[..., Changes]:
        """Return what makes a file of a kind."""

        def make(threshold: float, opacity: float, background: str, request: gr.Request) -> Changes:
            file, status = self.page.extras.file, self.page.outputs.status
            try:
                seen = view(self._session(request), Look(threshold, opacity, background or ""))
                made = download(kind, seen.shown, opacity)
            except Exception as error:
                return {file: None, status: markup.problem(told(error))}
            return {file: {"name": made.name, "url": made.url}, status: markup.status(f"Downloaded {made.name}.")}

        return make

    def restore(self, request: gr.Request) -> Changes:
        """Set what a link says, as far as it is usable."""
        return dict(zip(self.page.linked, restored(request.query_params, self._service), strict=True))

    def _show(self, session: Session, photo: Photo) -> Changes:
        session.show(photo)
        return self._nothing(f"{photo.name}, {photo.describe()}. Press Segment.") | {
            self.page.inputs.photo: photo.image
        }

    def _nothing(self, text: str) -> Changes:
        outputs = self.page.outputs
        return {outputs.status: markup.status(text), outputs.results: gr.Column(visible=False)}

    def _result(self, seen: View) -> Changes:
        outputs, names = self.page.outputs, list(seen.result.names)
        rows = seen.table()
        first = next((row.key for row in rows if row.key in names), names[0])
        height, width = seen.result.labels.shape
        return self._pictures(seen) | {
            outputs.status: markup.status(
                f"Done: {len(rows)} of {len(names)} names found in {width} x {height} pixels."
            ),
            outputs.results: gr.Column(visible=True),
            outputs.classes: markup.classes(rows),
            outputs.confidence: seen.confidence(),
            outputs.shown_class: gr.Dropdown(names, value=first),
            outputs.probability: seen.probability(first),
        }

    def _pictures(self, seen: View) -> Changes:
        outputs = self.page.outputs
        image, found = seen.regions()
        return {
            outputs.comparison: seen.comparison(),
            outputs.regions: type(outputs.regions)((image, found), color_map=dict(color_map(found))),
        }


def restored(parameters: Mapping[str, str], service: Service) -> list[Any]:
    """Read words and settings from a link; what cannot be used stays as it is."""
    limits, shelf = service.limits, service.shelf
    words, background = parameters.get("words", ""), parameters.get("background", "")
    return [
        words if 0 < len(words) <= limits.characters else gr.skip(),
        _one_of(parameters.get("vocabulary"), shipped_vocabularies()),
        _one_of(parameters.get("model"), shelf.models),
        _share(parameters.get("threshold")),
        _share(parameters.get("opacity")),
        background[:100] or gr.skip(),
    ]


def _one_of(value: str | None, choices: Sequence[str] | Mapping[str, str]) -> Any:
    return value if value in choices else gr.skip()


def _share(text: str | None) -> Any:
    try:
        value = float(text or "")
    except ValueError:
        return gr.skip()
    return value if 0 <= value <= 1 else gr.skip()
