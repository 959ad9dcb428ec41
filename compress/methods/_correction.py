"""The factor on a cost that brings what is measured to where it is wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["corrected"]

#: A measurement corrects the prediction by this factor at most: a busy machine misleads.
_TRUST = 1.5
#: A factor is taken to change what is measured by no more than this power of it.
_STEEPEST = 8.0


def corrected(tried: Sequence[tuple[float, float]], predicted: float) -> float:
    """The next factor to try: the larger it is, the smaller is the network that fits.

    At first the one with which the last prediction would have been right. But a surrogate is off by
    another part for each network: where a change of the factor has changed the measurement by more
    than that, its next step is as much shorter, or networks too fast and too slow would take turns.

    Args:
        tried: (factor, what was measured), in turn; at least one.
        predicted: of the last, with its factor; in the unit of what was measured.
    """
    factor, measured = tried[-1]
    power = 1.0
    if len(tried) > 1 and tried[-2][0] != factor:
        before, was = tried[-2]
        power = -math.log(measured / was) / math.log(factor / before)
    step = float((measured / predicted) ** (1 / min(max(power, 1.0), _STEEPEST)))
    return factor * min(max(step, 1 / _TRUST), _TRUST)
