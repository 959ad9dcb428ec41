"""What ``why`` finds: the ops, the verdicts, and how they are handed on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from latprof.pipeline.explaining._verdict import Verdict
from latprof.pipeline.explaining.shown import html_of, model_explorer_of
from latprof.vocabulary import Target

__all__ = ["OpShare", "WhyResult"]


@dataclass(frozen=True)
class OpShare:
    """One op of the file, as the runtime ran it.

    Args:
        name: as the runtime names it.
        op: its kind in the runtime.
        nodes: first outputs of the nodes of the file that it does the work of; empty for what the
            runtime added.
        seconds: inside the model, by the runtime's own profiler, without what that adds.
        share: of the whole.
        alone_s: the op at its shape alone; None where it is not known.
        alone_from: ``row`` or ``surrogate`` of the table, or ``device``; empty where not known.
        roofline_s: at the table's fastest MACs and bytes per second; None without a table.
        reads: numbers of the ops whose results it takes.
    """

    name: str
    op: str
    nodes: tuple[str, ...]
    seconds: float
    share: float
    alone_s: float | None = None
    alone_from: str = ""
    roofline_s: float | None = None
    reads: tuple[int, ...] = ()


@dataclass(frozen=True)
class WhyResult:
    """Why a file takes as long as it does.

    Args:
        file: what was measured.
        target: device, runtime and settings.
        latency_s: of the whole, without the profiler.
        profiler_s: what the profiler adds to the sum of all ops; it is taken off them.
        beside_load: no run had its core to itself, so that these times are too long.
        ops: in the order in which they run.
        verdicts: what slows it, most seconds first, each of 1% of the whole at least.
    """

    file: str
    target: Target
    latency_s: float
    profiler_s: float
    beside_load: bool
    ops: tuple[OpShare, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def ops_s(self) -> float:
        """Sum of all ops."""
        return sum(op.seconds for op in self.ops)

    @property
    def between_s(self) -> float:
        """The rest of the whole: from one op to the next, and into the runtime and back."""
        return self.latency_s - self.ops_s

    def html(self) -> str:
        """A page: verdicts, and the ops colored by their time."""
        return html_of(self)

    def model_explorer(self) -> str:
        """Node data for Google's Model Explorer, JSON: milliseconds of each node."""
        return model_explorer_of(self)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        return {
            "file": self.file,
            "target": self.target.to_dict(),
            "latency_s": self.latency_s,
            "ops_s": self.ops_s,
            "between_s": self.between_s,
            "profiler_s": self.profiler_s,
            "beside_load": self.beside_load,
            "ops": [
                {**dataclasses.asdict(op), "nodes": list(op.nodes), "reads": list(op.reads)}
                for op in self.ops
            ],
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
        }
