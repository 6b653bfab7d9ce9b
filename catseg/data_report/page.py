"""One HTML page of what `check_data` found. It needs no other file and no network."""

from pathlib import Path
from tempfile import TemporaryDirectory

from catseg.data.formats import DataReport, OwnDataset
from catseg.data_report.contact_sheet import write_contact_sheet
from catseg.errors import RunError
from catseg.pages import css_color, inline_image, render, write_page
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
    page = render(
        "data_check.html",
        title=report.path,
        subtitle=f"{report.format}; {len(report.classes)} classes; {report.unlabelled}; the ignored value is "
        f"{report.ignore_label}",
        report=report,
        colors=[css_color(color) for color in palette(len(report.classes))],
        largest={split: max((one.share for one in found.classes), default=0) for split, found in report.splits.items()},
        sheet=_sheet(dataset),
    )
    write_page(file, page)


def _sheet(dataset: OwnDataset) -> str:
    """Return the contact sheet as the address of an image; "" if there is nothing to show."""
    with TemporaryDirectory() as folder:
        sheet = Path(folder) / "sheet.jpg"
        try:
            write_contact_sheet(sheet, dataset, legend=False)
        except RunError:
            return ""
        return inline_image(sheet)
