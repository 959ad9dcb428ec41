"""``why``: what each op of a file takes, what slows it, and what to do about it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latprof.devices import Device, OpProfile, open_device
from latprof.pipeline.explaining._alone import time_alone
from latprof.pipeline.explaining._check import check_findings
from latprof.pipeline.explaining._findings import LEAST_SHARE, findings, trials
from latprof.pipeline.explaining._html import html_of
from latprof.pipeline.explaining._model_explorer import model_explorer_of
from latprof.pipeline.explaining._ops import (
    RunOp,
    correct_for_profiler,
    run_ops,
)
from latprof.pipeline.explaining._roofline import Alone, TableFigures
from latprof.pipeline.explaining._settings import settings_verdicts
from latprof.pipeline.explaining._verdict import Verdict
from latprof.pipeline.explaining.graph import Model, load_file, save_model
from latprof.tables import LatencyTable
from latprof.vocabulary import Target

__all__ = ["OpShare", "WhyResult", "why"]

_PROCESSES, _PROFILE_S = 3, 0.7
#: A process with so much of its core was not preempted while it profiled.
_ALONE = 0.98
#: Ops that take less than this part of the whole are not timed alone on the device.
_LEAST_ALONE = 0.01
#: Verdicts that are checked, the largest ones.
_MOST_CHECKED = 6

_Progress = Callable[[str, float], None]
_STAGES = (
    "profiling ops",
    "timing ops alone",
    "timing what promises most",
    "checking advice",
    "trying settings",
)


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


def why(
    file: str | Path,
    *,
    device: str = "local",
    table: str | Path | LatencyTable | None = None,
    check: bool = False,
    threads: int = 1,
    on_progress: _Progress | None = None,
    **settings: Any,
) -> WhyResult:
    """Say why ``file`` is slow: what each op takes inside it, and what would be faster.

    Op times are those of the runtime's own profiler, in fresh processes. What may be slow is timed
    alone on the device, beside what to do instead; it is a verdict where that saves 1% of the
    whole or more. No torch is needed.

    Args:
        file: .onnx.
        device: one that runs ONNX Runtime: ``local`` or ``ssh:HOST``.
        table: latency table of the target, for ops alone and their roofline; without one, ops are
            timed alone on the device.
        check: apply each advice to a copy of the file, and measure it against the file in turns.
        threads: of the runtime.
        on_progress: called with what is being done, and the share of the whole that is over.
        settings: of the device or the runtime, by name.

    Raises:
        UsageError: not an .onnx file, or a device that cannot tell what ops take.
        ModelLoadError: no such file, or not a model.
        TargetMismatchError: the table is of another target.
        WorkloadError: the runtime refuses the file.
        DeviceError: the device is gone.

    Example:
        >>> found = latprof.why("model.onnx", check=True)             # doctest: +SKIP
        >>> found.verdicts[0].words, found.verdicts[0].checked.saves_s  # doctest: +SKIP
        ('a convolution has 97 channels', 0.00187)
    """
    model = load_file(Path(file))
    figures = TableFigures(table) if table is not None else None

    def report(what: str) -> Callable[[float], None]:
        def update(share: float) -> None:
            if on_progress is not None:
                on_progress(what, (_STAGES.index(what) + share) / len(_STAGES))

        return update

    def open_with(count: int, changed: dict[str, str]) -> Device:
        return open_device(device, runtime="onnxruntime", threads=count, **{**settings, **changed})

    with (
        open_with(threads, {}) as opened,
        tempfile.TemporaryDirectory(prefix="latprof-") as folder,
    ):
        if figures is not None:
            opened.target.require(figures.target, "the table")
        whole = save_model(model.proto, Path(folder) / "whole.onnx")
        ops, profile = _profiled(opened, model, whole, report("profiling ops"))
        whole_s = profile.whole_s
        known = figures.alone(_workloads(ops)) if figures else {}
        tried = trials(model, ops, whole_s, Path(folder))
        jobs = [job for trial in tried for job in trial.jobs]
        jobs += [w for w in _workloads(ops, _LEAST_ALONE * whole_s) if w not in known]
        times = time_alone(opened, jobs, report("timing ops alone"))
        known |= {w: Alone(times.seconds(w), "device") for w in _workloads(ops) if w in times}
        call_s = float(opened.environment().get("dispatch_s", 0.0))
        promising = [one.trial for one in findings(tried, times, whole_s, call_s)]
        # Timed anew: the best of many by chance would not be so twice, nor as good.
        again = [job for trial in promising for job in trial.jobs]
        times = time_alone(opened, again, report("timing what promises most"))
        found = sorted(
            findings(promising, times, whole_s, call_s), key=lambda one: -one.verdict.saves_s
        )
        verdicts = [one.verdict for one in found]
        if check and found:
            checked = found[:_MOST_CHECKED]
            verdicts[: len(checked)] = check_findings(
                opened, model, whole, whole_s, checked, report("checking advice")
            )
        report("trying settings")(0.0)
        verdicts += [
            v
            for v in settings_verdicts(opened, whole, ops, open_with)
            if v.saves_s >= LEAST_SHARE * whole_s or v.cause == "threads"
        ]
        return WhyResult(
            str(file),
            opened.target,
            whole_s,
            max(0.0, profile.ops_s - whole_s),
            profile.core_share < _ALONE,
            tuple(_share(op, whole_s, known, figures) for op in ops),
            tuple(sorted(verdicts, key=lambda v: -v.saves_s)),
        )


def _profiled(
    device: Device, model: Model, path: Path, on_share: Callable[[float], None]
) -> tuple[list[RunOp], OpProfile]:
    """(ops, the profile that they are of)."""
    profiles = []
    for done in range(_PROCESSES):
        on_share(done / _PROCESSES)
        profiles.append(device.profile_ops(path, measure_s=_PROFILE_S))
    # That which met the least background load.
    alone = [p for p in profiles if p.core_share >= _ALONE]
    best = min(alone or profiles, key=lambda p: p.whole_s + p.ops_s)
    seconds = correct_for_profiler([op.seconds for op in best.ops], best.whole_s)
    return run_ops(model, best, seconds), best


def _workloads(ops: Sequence[RunOp], least_s: float = 0.0) -> list[Any]:
    return list(dict.fromkeys(op.workload for op in ops if op.workload and op.seconds >= least_s))


def _share(
    op: RunOp, whole_s: float, known: dict[Any, Alone], figures: TableFigures | None
) -> OpShare:
    alone = known.get(op.workload)
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
