"""A .tflite file, by LiteRT's profiler and by changed copies of the whole file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from latprof.compress.read import tflite_op_workloads
from latprof.devices import Device, OpProfile
from latprof.pipeline.explaining._observed import observation, observations
from latprof.pipeline.explaining._ops import RunOp
from latprof.pipeline.explaining._profiling import profiled, share_of, why_result, workloads_of
from latprof.pipeline.explaining._result import WhyResult
from latprof.pipeline.explaining._roofline import Alone
from latprof.pipeline.explaining._settings import settings_verdicts
from latprof.pipeline.explaining._setup import Setup
from latprof.pipeline.explaining._verdict import LEAST_SHARE, Verdict
from latprof.pipeline.explaining.tflite import (
    TfliteCandidate,
    TfliteEdit,
    TfliteFile,
    activations,
    channels,
    dead_ops,
    float_islands,
    left_transposes,
    load_tflite_file,
    outside_delegate,
    round_trips,
    run_tflite_ops,
)
from latprof.pipeline.explaining.timed import checked, runs, saved_by, time_alone

__all__ = ["explain_tflite"]

#: A saving is one above so many of its standard errors.
_SURE = 3.0
#: Copies that are measured, those whose ops take longest.
_MOST_COPIES, _MOST_BRIEFLY = 8, 3


def explain_tflite(path: Path, setup: Setup) -> WhyResult:
    """Raises as ``why``."""
    file = load_tflite_file(path)
    workloads = tflite_op_workloads(path)
    figures, report = setup.figures, setup.report
    with setup.open() as opened:
        profile, seconds = profiled(opened, path, report("profiling ops"), brief=setup.brief)
        whole_s = profile.whole_s
        ops = run_tflite_ops(file, profile.ops, seconds, workloads)
        known = figures.alone(workloads_of(ops)) if figures else {}
        if not setup.brief:
            jobs = [w for w in workloads_of(ops, LEAST_SHARE * whole_s) if w not in known]
            times = time_alone(opened, jobs, report("timing ops alone"))
            known |= {w: Alone(times.seconds(w), "device") for w in workloads_of(ops) if w in times}
        verdicts = _verdicts(opened, file, path, ops, profile, setup)
        if not setup.brief:
            report("trying settings")(0.0)
            verdicts += settings_verdicts(opened, path, ops, setup.open_with)
        shares = tuple(share_of(op, whole_s, known, figures) for op in ops)
        verdicts += observations(ops, shares, whole_s, verdicts)
        return why_result(path, opened.target, profile, shares, verdicts)


def _verdicts(
    device: Device,
    file: TfliteFile,
    path: Path,
    ops: Sequence[RunOp],
    profile: OpProfile,
    setup: Setup,
) -> list[Verdict]:
    """Of what can be changed, that which saves something; of the rest, what it takes."""
    outside = _outside(file, profile, ops)
    delegate = device.target.delegate
    takes = _Takes(file, ops)
    tried = sorted(
        (
            c
            for c in _candidates(file, outside)
            if takes.seconds(c) >= LEAST_SHARE * profile.whole_s
        ),
        key=takes.seconds,
        reverse=True,
    )[: _MOST_BRIEFLY if setup.brief else _MOST_COPIES]
    made = []
    for number, one in enumerate(tried):
        assert one.apply is not None
        edit = TfliteEdit(file)
        one.apply(edit)
        copy = edit.save(setup.folder / f"changed-{number}.tflite")
        if runs(device, copy):
            made.append((one, copy))
    saved = saved_by(
        device, path, profile.whole_s, [c for _, c in made], setup.report("checking advice"),
        setup.left_s,
    )  # fmt: skip
    best: dict[str, tuple[float, Verdict]] = {}
    inputs = file.random_inputs()
    for (one, copy), found in zip(made, saved, strict=True):
        least_s = max(_SURE * found.error_s, LEAST_SHARE * profile.whole_s)
        if found.seconds < max(least_s, best.get(one.cause, (0.0,))[0]):
            continue
        check = checked(device, path, copy, inputs if one.keeps else {}, found)
        nodes = tuple(file.name(op) for op in one.ops)
        best[one.cause] = found.seconds, Verdict(
            one.cause, one.words, one.advice, nodes, takes.seconds(one), None, None,
            found.seconds, one.keeps, check,
        )  # fmt: skip
    verdicts = [verdict for _, verdict in best.values()]
    named = {node for verdict in verdicts for node in verdict.nodes}
    left = [*float_islands(file), *left_transposes(file)]
    if delegate != "none":
        left += outside_delegate(file, outside, delegate)
    for one in left:
        nodes = tuple(file.name(op) for op in one.ops)
        if takes.seconds(one) >= LEAST_SHARE * profile.whole_s and not set(nodes) <= named:
            verdicts.append(
                observation(one.cause, one.words, one.advice, nodes, takes.seconds(one), one.keeps)
            )
    return verdicts


def _candidates(file: TfliteFile, outside: set[int]) -> Iterator[TfliteCandidate]:
    yield from dead_ops(file)
    yield from round_trips(file)
    yield from activations(file, outside)
    yield from channels(file)


def _outside(file: TfliteFile, profile: OpProfile, ops: Sequence[RunOp]) -> set[int]:
    """Numbers of the file's ops that ran, and in no delegate."""
    names = {
        name
        for time, op in zip(profile.ops, ops, strict=True)
        if time.provider == "builtin"
        for name in op.nodes
    }
    return {number for number in range(len(file.ops)) if file.name(number) in names}


class _Takes:
    """What ops of the file take inside the model."""

    def __init__(self, file: TfliteFile, ops: Sequence[RunOp]) -> None:
        self._file = file
        self._ops: dict[str, list[int]] = defaultdict(list)
        for i, op in enumerate(ops):
            for name in op.nodes:
                self._ops[name].append(i)
        self._seconds = [op.seconds for op in ops]

    def seconds(self, candidate: TfliteCandidate) -> float:
        ran = {i for op in candidate.ops for i in self._ops.get(self._file.name(op), ())}
        return sum(self._seconds[i] for i in ran)
