from ._figures import COLUMNS as COLUMNS
from ._figures import NAMES as NAMES
from ._figures import figure_row as figure_row
from ._figures import progress_text as progress_text
from ._figures import verdict as verdict
from ._figures import weather as weather
from ._report import write_report as write_report

__all__ = [
    "COLUMNS",
    "NAMES",
    "figure_row",
    "progress_text",
    "verdict",
    "weather",
    "write_report",
]
