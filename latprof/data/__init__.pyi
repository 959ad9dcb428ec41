from ._images import ImageSettings as ImageSettings
from ._images import ImageTransform as ImageTransform
from ._inputs import Unlabelled as Unlabelled
from ._inputs import load_inputs as load_inputs
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
    "Unlabelled",
    "check_labels",
    "load_data",
    "load_inputs",
]
