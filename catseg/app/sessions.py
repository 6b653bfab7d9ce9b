"""What is known of each caller's image. Nobody's is known to anyone else, and none for longer than needed."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from catseg.api.pipeline import EncodedImage
from catseg.api.result import Result
from catseg.app.limits import Limits
from catseg.app.photos import Photo

Key = tuple[str, str]  # user, session


@dataclass
class Session:
    """One browser tab, or one client of the API.

    Attributes:
        photo: the image.
        encoded: what does not depend on names, and of which image, model and device.
        result: of the last request, with threshold 0.
        hidden: the classes that are switched off.
        used: when it was last asked for.
    """

    photo: Photo | None = None
    encoded: tuple[tuple[str, str, str], EncodedImage] | None = None
    result: Result | None = None
    hidden: set[str] = field(default_factory=set)
    used: float = 0.0

    def show(self, photo: Photo) -> None:
        """Put an image in the place of the earlier one."""
        if self.photo is None or self.photo.digest != photo.digest:
            self.encoded = self.result = None
        self.photo = photo

    def forget_image(self) -> None:
        """Keep nothing of the image."""
        self.photo = self.encoded = self.result = None


class Sessions:
    """Finds sessions, and forgets those that were not used for long or are too many."""

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without any."""
        self._limits = limits
        self._clock = clock
        self._sessions: OrderedDict[Key, Session] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, key: Key) -> Session:
        """Return a caller's session, a new one if there is none or it was forgotten."""
        with self._lock:
            now = self._clock()
            self._forget_idle(now)
            session = self._sessions.setdefault(key, Session())
            session.used = now
            self._sessions.move_to_end(key)
            while len(self._sessions) > self._limits.sessions:
                self._sessions.popitem(last=False)
            return session

    def forget(self, key: Key) -> None:
        """Forget a caller's session, if there is one."""
        with self._lock:
            self._sessions.pop(key, None)

    def forget_idle(self) -> None:
        """Forget those that were not used for long."""
        with self._lock:
            self._forget_idle(self._clock())

    def _forget_idle(self, now: float) -> None:
        oldest = now - 60 * self._limits.minutes
        for key in [key for key, session in self._sessions.items() if session.used < oldest]:
            del self._sessions[key]
