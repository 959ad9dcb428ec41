from ._floor import CHOICE_ERRORS as CHOICE_ERRORS
from ._grid import grid_trials as grid_trials
from ._search import search as search
from .samplers import GP as GP
from .samplers import Bracket as Bracket
from .samplers import DrUcb as DrUcb

__all__ = ["CHOICE_ERRORS", "GP", "Bracket", "DrUcb", "grid_trials", "search"]
