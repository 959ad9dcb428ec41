"""Node data for Google's Model Explorer: what it colors the nodes of the file by."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latprof.pipeline.explaining._result import WhyResult

__all__ = ["model_explorer_of"]

_GRADIENT = [
    {"stop": 0, "bgColor": "#ffffff"},
    {"stop": 0.5, "bgColor": "#fdbb84"},
    {"stop": 1, "bgColor": "#d7301f"},
]


def model_explorer_of(result: WhyResult) -> str:
    """Milliseconds by the name of the value that a node makes. Where the runtime fused nodes, the
    last of them has the time of all, and the others have 0."""
    milliseconds: dict[str, float] = {}
    for op in result.ops:
        for name in op.nodes[:-1]:
            milliseconds.setdefault(name, 0.0)
        if op.nodes:
            last = op.nodes[-1]
            milliseconds[last] = milliseconds.get(last, 0.0) + 1e3 * op.seconds
    results = {name: {"value": round(ms, 6)} for name, ms in milliseconds.items()}
    return json.dumps({"results": results, "gradient": _GRADIENT}, indent=2)
