# The public names of this room; each is imported when it is first used.
from . import figures
from .html import write_page, write_report

__all__ = [
    "figures",
    "write_page",
    "write_report",
]
