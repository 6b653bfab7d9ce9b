"""Gradio's components for images, but with pictures inside of what is sent, so that the server keeps no file of them.

Gradio itself writes what it shows into a cache whose files everyone can have who knows their address.
"""

from abc import ABCMeta
from pathlib import Path
from typing import Any, ClassVar

import gradio as gr
from gradio.component_meta import ComponentMeta
from gradio.data_classes import GradioModel, ImageData

from catseg.app.drawing import Region, Rgb, jpeg_url, mask_url, preview
from catseg.errors import InputError

SLIDER_DATA = gr.ImageSlider.data_model


class Upload:
    """What a caller gave.

    Attributes:
        path: of the uploaded file.
        url: of the image itself, a `data:` URL, where no file was uploaded.
        name: what its owner calls the file.
    """

    def __init__(self, payload: ImageData) -> None:
        self.path = Path(payload.path) if payload.path else None
        self.url = payload.url or ""
        self.name = payload.orig_name or "image"


class _WithoutStub(ComponentMeta):
    """Makes a kind of component without a stub file beside its source, which Gradio writes for those with events."""

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> Any:
        return ABCMeta.__new__(cls, name, bases, attributes)


class _NoFetching:
    """A component that takes files which were uploaded, and fetches none from elsewhere for a caller."""

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:
        if url_or_file_path is not None and "://" in str(url_or_file_path):
            raise gr.Error("give the image itself, not its address", print_exception=False)
        return await super().async_move_resource_to_block_cache(url_or_file_path)  # type: ignore[misc]


class PhotoInput(_NoFetching, gr.Image, metaclass=_WithoutStub):
    """Takes an image, undecoded, and shows one."""

    def get_block_name(self) -> str:
        """The part of the page that shows it."""
        return "image"

    def preprocess(self, payload: ImageData | None) -> Upload | None:
        """Hand on what was given."""
        return None if payload is None else Upload(payload)

    def postprocess(self, value: Rgb | None) -> ImageData | None:
        """Show an image (H, W, 3)."""
        return None if value is None else ImageData(url=jpeg_url(preview(value)), orig_name="image.jpg")


class Picture(PhotoInput):
    """Shows an image."""


class Comparison(_NoFetching, gr.ImageSlider, metaclass=_WithoutStub):
    """Shows two images of one size, with a slider between them."""

    def get_block_name(self) -> str:
        """The part of the page that shows it."""
        return "imageslider"

    def postprocess(self, value: tuple[Rgb, Rgb] | None) -> Any:
        """Show two images (H, W, 3)."""
        if value is None:
            return None
        first, second = (ImageData(url=jpeg_url(image), orig_name="image.jpg") for image in value)
        return SLIDER_DATA(root=(first, second))


class _Annotation(GradioModel):
    image: ImageData
    label: str


class _AnnotatedImage(GradioModel):
    image: ImageData
    annotations: list[_Annotation]


class Regions(_NoFetching, gr.AnnotatedImage, metaclass=_WithoutStub):
    """Shows an image whose regions light up below the pointer, or beside their names."""

    data_model: ClassVar[Any] = _AnnotatedImage

    def get_block_name(self) -> str:
        """The part of the page that shows it."""
        return "annotatedimage"

    def postprocess(self, value: tuple[Rgb, list[Region]] | None) -> Any:
        """Show an image (H, W, 3) with its regions."""
        if value is None:
            return None
        image, found = value
        annotations = [_Annotation(image=ImageData(url=mask_url(region)), label=region.label) for region in found]
        return _AnnotatedImage(image=ImageData(url=jpeg_url(image)), annotations=annotations)


def given(upload: Upload | None) -> Upload:
    """Return what was given.

    Raises:
        ValueError: if nothing was.
    """
    if upload is None:
        raise InputError("no image: give one")
    return upload
