"""What cannot pay on the target is declined before anything is trained."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence

from latprof.compress.cost._goals import Goals
from latprof.compress.space import Block, LowRank, Space

__all__ = ["settle"]

_log = logging.getLogger("latprof")


def settle(
    blocks: Sequence[Block],
    space_of: Callable[[Sequence[Block]], tuple[Space, list[Block]]],
    goals_of: Callable[[Space], Goals],
) -> tuple[Space, list[Block], Goals]:
    """The space without the layers that LowRank makes dearer at every rank, the block of each of
    its groups, and the goals. Factors of such a layer would cost training time for nothing.

    Where LowRank is all there is and pays nowhere, the goals refuse the budget as out of reach.
    """
    space, of_group = space_of(blocks)
    goals = goals_of(space)
    paying = goals.ever_paying()
    idle = [o.layer.path for o in space.ranks if o.layer.path not in paying]
    if not idle:
        return space, of_group, goals
    left = [
        dataclasses.replace(b, layers=tuple(paying)) if isinstance(b, LowRank) else b
        for b in blocks
        if paying or not isinstance(b, LowRank)
    ]
    _log.warning(
        "LowRank leaves %d of %d layers whole, dearer as two at any rank: %s",
        len(idle), len(space.ranks), ", ".join(idle),
    )  # fmt: skip
    space, of_group = space_of(left)
    return space, of_group, goals_of(space)
