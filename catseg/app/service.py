"""What the page and the API do, without either of them."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from catseg.api.model import CATSegModel
from catseg.api.pipeline import EncodedImage
from catseg.api.result import Result
from catseg.app.jobs import Job
from catseg.app.limits import Limits
from catseg.app.photos import Photo
from catseg.app.sessions import Session, Sessions
from catseg.app.shelf import LoadedModel, Shelf
from catseg.app.words import Words, read_words, shipped_words
from catseg.errors import InputError
from catseg.vocabulary import Vocabulary, shipped_vocabularies

OWN_WORDS = ""  # as the name of a vocabulary: the words that are typed

_NAMES_PER_STAGE = 32  # names that are encoded between two looks at whether somebody still waits


@dataclass(frozen=True)
class Ask:
    """What somebody asks of an image.

    Attributes:
        words: the names as typed.
        vocabulary: the name of a shipped vocabulary instead, or `OWN_WORDS`.
        model: one of the shelf's names.
        device: one of the shelf's devices.
    """

    words: str
    vocabulary: str
    model: str
    device: str


class Service:
    """Segments the images of sessions, one request at a time.

    Attributes:
        shelf: the models.
        limits: of requests.
        sessions: who asks.
    """

    def __init__(self, shelf: Shelf, limits: Limits) -> None:
        """Take the parts; `close` ends the thread that computes."""
        self.shelf = shelf
        self.limits = limits
        self.sessions = Sessions(limits)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="catseg-app")

    def close(self) -> None:
        """Start no more work."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def read(self, ask: Ask) -> Words:
        """Read the names of a request, as the model will if it is loaded.

        Raises:
            ValueError: if there is no such vocabulary.
        """
        if ask.vocabulary != OWN_WORDS:
            if ask.vocabulary not in shipped_vocabularies():
                known = ", ".join(shipped_vocabularies())
                raise InputError(f"no vocabulary is called {ask.vocabulary!r}; there are {known}")
            return shipped_words(ask.vocabulary, self.limits)
        loaded = self.shelf.loaded(ask.model, ask.device)
        return read_words(ask.words, self.limits, loaded.model.module.text_encoder.reads_whole if loaded else None)

    def segment(self, session: Session, ask: Ask) -> Generator[str, None, Result]:
        """Segment a session's image. What was computed before is not computed again.

        Args:
            session: with an image.
            ask: what is asked.

        Yields:
            What is being done.

        Returns:
            The result with threshold 0, which the session keeps.

        Raises:
            ValueError: if there is no image, or the names cannot be used.
            RuntimeError: if the model cannot be loaded, or it takes too long.
        """
        photo = session.photo
        if photo is None:
            raise InputError("no image: drop one, paste one, take one, or choose an example")
        self.read(ask).required()
        job = Job(lambda job: self._segment(job, session, photo, ask), self._pool, self.limits.seconds)
        result = yield from job.follow()
        if session.photo is photo:  # and no other was given meanwhile
            session.result = result
        return result

    def _segment(self, job: Job[Result], session: Session, photo: Photo, ask: Ask) -> Result:
        if self.shelf.loaded(ask.model, ask.device) is None:
            job.stage(f"Loading the model {ask.model}")
        loaded = self.shelf.get(ask.model, ask.device)
        classes = self.read(ask).required()
        encoded = _encode(job, session, photo, ask, loaded.model)
        _learn(job, loaded, classes)
        job.stage("Finding which pixel is which")
        return loaded.model.segment(encoded, classes, threshold=0, on_error="raise")


def _encode(job: Job[Result], session: Session, photo: Photo, ask: Ask, model: CATSegModel) -> EncodedImage:
    key = (photo.digest, ask.model, ask.device)
    kept = session.encoded
    if kept is not None and kept[0] == key:
        return kept[1]
    job.stage("Looking at the image")
    # Exported files name the image as its owner does.
    encoded = replace(model.encode(photo.image), source=Path(photo.name))
    session.encoded = key, encoded
    return encoded


def _learn(job: Job[Result], loaded: LoadedModel, classes: Vocabulary) -> None:
    """Encode new names, a few at a time."""
    context = loaded.model.context or ()
    everything = dict(zip(classes, classes.synonyms, strict=True))
    if context:
        everything |= dict(zip(context, context.synonyms, strict=True))
    new = [name for name in everything if name not in loaded.known]
    for start in range(0, len(new), _NAMES_PER_STAGE):
        job.stage(f"Reading names, {start} of {len(new)}")
        chunk = new[start : start + _NAMES_PER_STAGE]
        loaded.model.encode_classes(Vocabulary([everything[name] for name in chunk]), context=None)
        loaded.known.update(chunk)
