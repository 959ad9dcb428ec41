"""A .pt2 file, by torch.profiler: what its ops take, and what that shows by itself."""

from __future__ import annotations

from pathlib import Path

from latprof.errors import ModelLoadError
from latprof.pipeline.explaining._observed import observations
from latprof.pipeline.explaining._ops import RunOp
from latprof.pipeline.explaining._profiling import profiled, share_of, why_result
from latprof.pipeline.explaining._result import WhyResult
from latprof.pipeline.explaining._settings import settings_verdicts
from latprof.pipeline.explaining._setup import Setup
from latprof.pipeline.explaining._verdict import Verdict

__all__ = ["explain_pt2"]


def explain_pt2(path: Path, setup: Setup) -> WhyResult:
    """Raises as ``why``."""
    if not path.is_file():
        raise ModelLoadError(f"MODEL {path}: no such file")
    with setup.open() as opened:
        profile, seconds = profiled(opened, path, setup.report("profiling ops"), brief=setup.brief)
        ops = [
            RunOp(op.name, op.op, took_s, (op.name,), None)
            for op, took_s in zip(profile.ops, seconds, strict=True)
        ]
        shares = tuple(share_of(op, profile.whole_s, {}, setup.figures) for op in ops)
        verdicts: list[Verdict] = []
        if not setup.brief:
            setup.report("trying settings")(0.0)
            verdicts += settings_verdicts(opened, path, ops, setup.open_with)
        verdicts += observations(ops, shares, profile.whole_s, verdicts)
        return why_result(path, opened.target, profile, shares, verdicts)
