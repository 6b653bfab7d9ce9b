"""What `check_data` found, to look at: a contact sheet and an HTML page."""

from catseg.data_report.contact_sheet import contact_sheet, write_contact_sheet
from catseg.data_report.page import write_data_page

__all__ = ["contact_sheet", "write_contact_sheet", "write_data_page"]
