from ._text import ending as ending
from ._text import label as label
from ._text import lines_of as lines_of
from ._text import summary as summary
from ._verdict import Verdict as Verdict
from ._verdict import VerdictCheck as VerdictCheck
from ._why import OpShare as OpShare
from ._why import WhyResult as WhyResult
from ._why import why as why

__all__ = [
    "OpShare",
    "Verdict",
    "VerdictCheck",
    "WhyResult",
    "ending",
    "label",
    "lines_of",
    "summary",
    "why",
]
