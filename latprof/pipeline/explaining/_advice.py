"""The first verdicts on the file that a run ends with, in a small part of the run's own time."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latprof.devices import Device
from latprof.errors import LatprofError
from latprof.pipeline.explaining._result import WhyResult
from latprof.pipeline.explaining._why import explain
from latprof.pipeline.explaining.shown import ending
from latprof.vocabulary import AdviceResult, RunResult, format_duration, load_json, save_json

__all__ = ["with_advice"]

_log = logging.getLogger("latprof")

#: Of the run's time, and at most so many seconds; where that is less than the least, in which
#: little is found, nothing is.
_SHARE, _MAX_S, _LEAST_S = 0.05, 60.0, 10.0
_VERDICTS = 3
#: Of any kind: what was trained must not be lost to them.
_FAILURES = (
    LatprofError, ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
#: What runs the file on a CPU; the profilers of others are not read.
_DELEGATES = ("CPUExecutionProvider", "XNNPACK", "none")
_RUNTIMES = ("onnxruntime", "tflite")
_KIND, _VERSION = "advice on a file", 1


def with_advice(
    result: RunResult,
    folder: Path,
    open_with: Callable[[int, dict[str, Any]], Device],
    took_s: float,
    on_stage: Callable[[str], None],
) -> RunResult:
    """The same result with what slows its compressed file, also in the folder's ``result.json``.

    What fails here is a warning: the run has ended well.

    Args:
        open_with: (threads, settings) to the run's device, which is closed now.
        took_s: the run.
    """
    target = result.target
    if target.runtime not in _RUNTIMES or target.delegate not in _DELEGATES:
        return result
    file, kept = Path(result.compressed.file), folder / "why.json"
    max_s = min(_MAX_S, _SHARE * took_s)
    try:
        advice = _kept(kept, file)
        if advice is None:
            if max_s < _LEAST_S:
                return result
            on_stage(
                f"explaining what slows {file.name}, {format_duration(max_s)} at most; "
                "why = false leaves it out"
            )
            advice = _advice(explain(file, open_with, target.threads, max_s=max_s))
            save_json(kept, _KIND, _VERSION, {
                "sha256": _digest(file),
                "advice": [dataclasses.asdict(one) for one in advice],
            })  # fmt: skip
        advised = dataclasses.replace(result, advice=advice)
        advised.save(folder / "result.json")
    except _FAILURES as exc:
        what = str(exc) if isinstance(exc, LatprofError) else f"{type(exc).__name__}: {exc}"
        _log.warning("%s is not explained: %s; try: latprof why %s", file.name, what, file)
        return result
    return advised


def _advice(found: WhyResult) -> tuple[AdviceResult, ...]:
    return tuple(
        AdviceResult(
            v.words + ending(v).removesuffix("."), v.advice, v.takes_s, v.saves_s, v.keeps_outputs
        )
        for v in found.verdicts[:_VERDICTS]
    )


def _kept(path: Path, file: Path) -> tuple[AdviceResult, ...] | None:
    """What was found of the same file before."""
    if not path.is_file():
        return None
    data = load_json(path, _KIND, _VERSION)
    if data["sha256"] != _digest(file):
        return None
    return tuple(AdviceResult(**one) for one in data["advice"])


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
