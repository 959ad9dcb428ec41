from ._grid import grid_trials as grid_trials
from ._search import search as search
from .samplers import GP as GP
from .samplers import Bracket as Bracket
from .samplers import DrUcb as DrUcb

__all__ = ["GP", "Bracket", "DrUcb", "grid_trials", "search"]
