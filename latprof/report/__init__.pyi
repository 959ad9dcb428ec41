from ._figures import (
    NAMES as NAMES,
)
from ._figures import advice_lines as advice_lines
from ._figures import (
    columns as columns,
)
from ._figures import (
    conditions as conditions,
)
from ._figures import (
    figure_row as figure_row,
)
from ._figures import lost_classes_text as lost_classes_text
from ._figures import metric_text as metric_text
from ._figures import (
    progress_text as progress_text,
)
from ._figures import (
    verdict as verdict,
)
from ._log import log_place as log_place
from ._log import read_log as read_log
from ._plots import plot_networks as plot_networks
from ._report import write_report as write_report
from ._search import SAMPLE_COLUMNS as SAMPLE_COLUMNS
from ._search import front_columns as front_columns
from ._search import front_rows as front_rows
from ._search import sample_rows as sample_rows
from ._search import search_verdict as search_verdict
from ._slack import latency_slack as latency_slack
from ._slack import slack_text as slack_text
from ._sustained import sustained_lines as sustained_lines
from ._sustained import sustained_markdown as sustained_markdown

__all__ = [
    "SAMPLE_COLUMNS",
    "advice_lines",
    "front_columns",
    "front_rows",
    "latency_slack",
    "log_place",
    "lost_classes_text",
    "metric_text",
    "plot_networks",
    "read_log",
    "sample_rows",
    "search_verdict",
    "slack_text",
    "sustained_lines",
    "sustained_markdown",
    "write_report",
]
