from ._images import ImageSettings as ImageSettings
from ._images import ImageTransform as ImageTransform
from ._rows import check_labels as check_labels
from ._source import PREFIXES as PREFIXES
from ._source import DataSource as DataSource
from ._source import load_data as load_data
from ._table import COLUMNS as COLUMNS
from ._text import TextSettings as TextSettings

__all__ = [
    "COLUMNS",
    "PREFIXES",
    "DataSource",
    "ImageSettings",
    "ImageTransform",
    "TextSettings",
    "check_labels",
    "load_data",
]
