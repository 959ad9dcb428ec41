"""An .onnx file, by ONNX Runtime's profiler and by slices of the file that are timed alone."""

from __future__ import annotations

from pathlib import Path

from latprof.pipeline.explaining._check import check_findings
from latprof.pipeline.explaining._findings import findings, trials
from latprof.pipeline.explaining._observed import fallen_ops, observations
from latprof.pipeline.explaining._ops import run_ops
from latprof.pipeline.explaining._profiling import profiled, share_of, why_result, workloads_of
from latprof.pipeline.explaining._result import WhyResult
from latprof.pipeline.explaining._roofline import Alone
from latprof.pipeline.explaining._settings import settings_verdicts
from latprof.pipeline.explaining._setup import Setup
from latprof.pipeline.explaining._verdict import LEAST_SHARE
from latprof.pipeline.explaining.graph import load_file, save_model
from latprof.pipeline.explaining.timed import time_alone

__all__ = ["explain_onnx"]

#: Ops that take less than this part of the whole are not timed alone on the device.
_LEAST_ALONE = 0.01
#: Verdicts that are checked, the largest ones.
_MOST_CHECKED = 6


def explain_onnx(file: Path, setup: Setup) -> WhyResult:
    """Raises as ``why``."""
    model = load_file(file)
    figures, report = setup.figures, setup.report
    with setup.open() as opened:
        whole = save_model(model.proto, setup.folder / "whole.onnx")
        profile, seconds = profiled(opened, whole, report("profiling ops"), brief=setup.brief)
        ops, whole_s = run_ops(model, profile, seconds), profile.whole_s
        known = figures.alone(workloads_of(ops)) if figures else {}
        tried = trials(model, ops, whole_s, setup.folder)
        jobs = [job for trial in tried for job in trial.jobs]
        if not setup.brief:
            jobs += [w for w in workloads_of(ops, _LEAST_ALONE * whole_s) if w not in known]
        times = time_alone(opened, jobs, report("timing ops alone"), setup.left_s / 2)
        known |= {w: Alone(times.seconds(w), "device") for w in workloads_of(ops) if w in times}
        call_s = float(opened.environment().get("dispatch_s", 0.0))
        promising = [one.trial for one in findings(tried, times, whole_s, call_s)]
        # Timed anew: the best of many by chance would not be so twice, nor as good.
        again = [job for trial in promising for job in trial.jobs]
        times = time_alone(opened, again, report("timing what promises most"), setup.left_s)
        found = sorted(findings(promising, times, whole_s, call_s), key=lambda one: -one.saves_s)
        verdicts = [one.verdict for one in found]
        if setup.check and found:
            checked = found[:_MOST_CHECKED]
            verdicts[: len(checked)] = check_findings(
                opened, model, whole, whole_s, checked, report("checking advice")
            )
        if not setup.brief:
            report("trying settings")(0.0)
            verdicts += [
                v
                for v in settings_verdicts(opened, whole, ops, setup.open_with, check=setup.check)
                if v.stake_s >= LEAST_SHARE * whole_s or v.cause == "threads"
            ]
        shares = tuple(share_of(op, whole_s, known, figures) for op in ops)
        fallen = list(fallen_ops(profile, ops, opened.target.delegate))
        verdicts += observations(ops, shares, whole_s, verdicts, fallen)
        return why_result(file, opened.target, profile, shares, verdicts)
