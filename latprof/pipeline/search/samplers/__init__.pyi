from ._bracket import Bracket as Bracket
from ._dr_ucb import DrUcb as DrUcb
from ._gp import GP as GP
from ._make import make_sampler as make_sampler
from ._observed import MOVED as MOVED
from ._observed import PROGRESS as PROGRESS
from ._observed import Observed as Observed
from ._observed import describe_original as describe_original
from ._observed import describe_sample as describe_sample
from ._observed import progress_of as progress_of

__all__ = [
    "GP",
    "MOVED",
    "PROGRESS",
    "Bracket",
    "DrUcb",
    "Observed",
    "describe_original",
    "describe_sample",
    "make_sampler",
    "progress_of",
]
