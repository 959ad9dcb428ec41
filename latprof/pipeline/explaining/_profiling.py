"""The profile of the processes that met the least background load, and shares of the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from latprof.devices import Device, OpProfile
from latprof.pipeline.explaining._observed import ranked
from latprof.pipeline.explaining._ops import RunOp, correct_for_profiler
from latprof.pipeline.explaining._result import OpShare, WhyResult
from latprof.pipeline.explaining._roofline import Alone, TableFigures
from latprof.pipeline.explaining._verdict import Verdict
from latprof.vocabulary import Target
from latprof.workloads import Workload

__all__ = ["profiled", "share_of", "why_result", "workloads_of"]

_PROCESSES, _PROFILE_S = 3, 0.7
#: A process with so much of its core was not preempted while it profiled.
_ALONE = 0.98


def profiled(
    device: Device, path: Path, on_share: Callable[[float], None], *, brief: bool = False
) -> tuple[OpProfile, list[float]]:
    """(the profile, seconds of its ops without what the profiler adds).

    Args:
        brief: of one process.
    """
    profiles, processes = [], 1 if brief else _PROCESSES
    for done in range(processes):
        on_share(done / processes)
        profiles.append(device.profile_ops(path, measure_s=_PROFILE_S))
    alone = [p for p in profiles if p.core_share >= _ALONE]
    best = min(alone or profiles, key=lambda p: p.whole_s + p.ops_s)
    return best, correct_for_profiler([op.seconds for op in best.ops], best.whole_s)


def workloads_of(ops: Sequence[RunOp], least_s: float = 0.0) -> list[Workload]:
    """Of the ops that take ``least_s`` and more, each once."""
    return list(dict.fromkeys(op.workload for op in ops if op.workload and op.seconds >= least_s))


def share_of(
    op: RunOp,
    whole_s: float,
    known: Mapping[Workload, Alone],
    figures: TableFigures | None,
) -> OpShare:
    alone = known.get(op.workload) if op.workload else None
    return OpShare(
        op.name,
        op.op,
        op.nodes,
        op.seconds,
        op.seconds / whole_s,
        alone.seconds if alone else None,
        alone.source if alone else "",
        figures.roofline_s(op.workload) if figures and op.workload else None,
        op.reads,
    )


def why_result(
    file: Path,
    target: Target,
    profile: OpProfile,
    shares: tuple[OpShare, ...],
    verdicts: Sequence[Verdict],
) -> WhyResult:
    """What a profile and the verdicts on it amount to, the largest verdict first."""
    return WhyResult(
        str(file),
        target,
        profile.whole_s,
        max(0.0, profile.ops_s - profile.whole_s),
        profile.core_share < _ALONE,
        shares,
        ranked(verdicts),
    )
