# The public names of this room; each is imported when it is first used.
from . import figures
from .comparison_page import write_comparison
from .html import write_page, write_report
from .map_points import points_figure

__all__ = [
    "figures",
    "points_figure",
    "write_comparison",
    "write_page",
    "write_report",
]
