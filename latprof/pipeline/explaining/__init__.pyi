from ._advice import with_advice as with_advice
from ._result import OpShare as OpShare
from ._result import WhyResult as WhyResult
from ._verdict import Verdict as Verdict
from ._verdict import VerdictCheck as VerdictCheck
from ._why import explain as explain
from ._why import why as why
from .shown import ending as ending
from .shown import label as label
from .shown import lines_of as lines_of
from .shown import summary as summary

__all__ = [
    "OpShare",
    "Verdict",
    "VerdictCheck",
    "WhyResult",
    "ending",
    "explain",
    "label",
    "lines_of",
    "summary",
    "why",
    "with_advice",
]
