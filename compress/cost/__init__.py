"""What a network costs as a function of its unit counts, and the budgets it is held to."""

from __future__ import annotations

from latprof.compress.cost._budget import Budget
from latprof.compress.cost._cost import Cost, LatencyCost, MacsCost
from latprof.compress.cost._decline import settle
from latprof.compress.cost._goals import Goal, Goals
from latprof.compress.cost._uniform import largest, uniform_counts

__all__ = [
    "Budget",
    "Cost",
    "Goal",
    "Goals",
    "LatencyCost",
    "MacsCost",
    "largest",
    "settle",
    "uniform_counts",
]
