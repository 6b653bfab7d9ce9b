"""One HTML page of what `check_data` found. It needs no other file and no network."""

import base64
import io
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from catseg.atomic import atomic_path
from catseg.data.formats import DataReport, OwnDataset
from catseg.data_report.contact_sheet import contact_sheet
from catseg.errors import RunError
from catseg.visualization import palette


def write_data_page(file: str | Path, dataset: OwnDataset, report: DataReport) -> None:
    """Write the page.

    Args:
        file: the HTML file to write.
        dataset: what was checked.
        report: what `catseg.data.formats.check_data` returned.

    Raises:
        OSError: if it cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("catseg.data_report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("data_check.html").render(
        report=report,
        colours=["#" + bytes(colour).hex() for colour in palette(len(report.classes))],
        largest={split: max((one.share for one in found.classes), default=0) for split, found in report.splits.items()},
        sheet=_sheet(dataset),
    )
    with atomic_path(file) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def _sheet(dataset: OwnDataset) -> str:
    """Return the contact sheet as the address of an image; "" if there is nothing to show."""
    try:
        sheet = contact_sheet(dataset)
    except RunError:
        return ""
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
