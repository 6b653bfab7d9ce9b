"""What one caller may ask of the app, so that it stays of use to the others."""

from dataclasses import dataclass

from catseg.errors import InputError

CHARACTERS_PER_NAME = 200  # of the words, on average: what nobody types


@dataclass(frozen=True)
class Limits:
    """Bounds of a request, and of what is kept.

    Attributes:
        megabytes: of an image's file.
        megapixels: of an image.
        names: classes of one request.
        seconds: until a request is answered, from its turn on.
        queue: requests that wait for their turn.
        sessions: browser tabs and clients whose image is kept encoded, so that other words on it are answered quickly.
        minutes: until an image that nobody asks about any more is forgotten.
    """

    megabytes: float = 20
    megapixels: float = 25
    names: int = 1000
    seconds: float = 120
    queue: int = 20
    sessions: int = 16
    minutes: float = 30

    @property
    def file_bytes(self) -> int:
        """Largest file of an image."""
        return round(1e6 * self.megabytes)

    @property
    def body_bytes(self) -> int:
        """Largest body of a request: an image in base64, and some room for the rest."""
        return self.file_bytes * 4 // 3 + 1_000_000

    @property
    def characters(self) -> int:
        """Longest list of names as text."""
        return self.names * CHARACTERS_PER_NAME

    def check_bytes(self, count: int) -> None:
        """Refuse a file that is too large.

        Raises:
            ValueError: if it is.
        """
        if count > self.file_bytes:
            raise InputError(
                f"the image's file has {count / 1e6:.1f} MB, this server takes {self.megabytes:g}: save it smaller"
            )

    def check_size(self, width: int, height: int) -> None:
        """Refuse an image of too many pixels.

        Raises:
            ValueError: if it has.
        """
        if width * height > 1e6 * self.megapixels:
            raise InputError(
                f"the image has {width} x {height} = {width * height / 1e6:.1f} million pixels, this server takes "
                f"{self.megapixels:g} million: make it smaller"
            )

    def describe(self) -> str:
        """Say in one line what an image and a request may be."""
        return (
            f"Images up to {self.megabytes:g} MB and {self.megapixels:g} million pixels, up to {self.names} names, "
            f"up to {self.seconds:g} seconds a request."
        )
