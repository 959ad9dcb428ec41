"""What a network costs as a function of its unit counts, and the budgets it is held to."""

from __future__ import annotations

from latprof.compress.cost._budget import Budget, FeasibleRange, OfTokens
from latprof.compress.cost._cost import Cost, LatencyCost, MacsCost
from latprof.compress.cost._decline import chosen_blocks, space_and_goals
from latprof.compress.cost._goals import Goal, Goals
from latprof.compress.cost._latency import Latency, named_latencies
from latprof.compress.cost._memory import MemoryCost
from latprof.compress.cost._uniform import largest, thinned, uniform_counts

__all__ = [
    "Budget",
    "Cost",
    "FeasibleRange",
    "Goal",
    "Goals",
    "Latency",
    "LatencyCost",
    "MacsCost",
    "MemoryCost",
    "OfTokens",
    "chosen_blocks",
    "largest",
    "named_latencies",
    "space_and_goals",
    "thinned",
    "uniform_counts",
]
