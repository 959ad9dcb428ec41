from ._edit import Edit as Edit
from ._groups import Group as Group
from ._groups import channel_axis as channel_axis
from ._groups import channel_groups as channel_groups
from ._model import Model as Model
from ._model import copied as copied
from ._model import inputs_of as inputs_of
from ._model import load_file as load_file
from ._model import save_model as save_model
from ._neighbors import FUSING as FUSING
from ._neighbors import with_neighbors as with_neighbors
from ._slice import UnknownShape as UnknownShape
from ._slice import slice_model as slice_model

__all__ = [
    "FUSING",
    "Edit",
    "Group",
    "Model",
    "UnknownShape",
    "channel_axis",
    "channel_groups",
    "copied",
    "inputs_of",
    "load_file",
    "save_model",
    "slice_model",
    "with_neighbors",
]
