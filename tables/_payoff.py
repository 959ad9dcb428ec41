"""Whether an op takes less time in another type: read from measured rows, never from a flag."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from latprof.errors import UsageError
from latprof.vocabulary import Measurement
from latprof.workloads import DTYPE_BYTES, WEIGHT_BITS, WEIGHT_PATTERNS, MatMul, Workload

__all__ = ["Payoff", "payoff"]

#: Where the shape itself was not measured, shapes of its family count whose channels are at most
#: this factor away, each of them.
_NEAR = 2.0
#: Less than this share is no difference, whatever the rounds say.
_LEAST = 0.02
#: Types of weights alone, by name -> bits. No runtime here has integer products of so few bits, so
#: that the plain names are of weights too.
_WEIGHT_TYPES = {f"w{bits}": bits for bits in WEIGHT_BITS} | {"int2": 2, "int4": 4}


@dataclass(frozen=True)
class Payoff:
    """The answer to whether an op takes less time in another type, or in a pattern of zeros.

    Args:
        verdict: ``yes``, ``no`` (it takes as long, or longer), or ``unknown``.
        ratio: its time in that type over its time in float32, measured; None where unknown. Of
            several shapes the geometric mean.
        shapes: how many were measured in both types.
        note: one line: what was measured, or what is missing.

    It is true where the verdict is ``yes``.
    """

    verdict: str
    ratio: float | None = None
    shapes: int = 0
    note: str = ""

    def __bool__(self) -> bool:
        return self.verdict == "yes"

    def __str__(self) -> str:
        ratio = "" if self.ratio is None else f", {self.ratio:.2f} of the time"
        return f"{self.verdict}{ratio}" + (f" ({self.note})" if self.note else "")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "verdict": self.verdict,
            "ratio": self.ratio,
            "shapes": self.shapes,
            "note": self.note,
        }


def payoff(rows: Iterable[Measurement], dtype: str, workload: Workload) -> Payoff:
    """From usable rows; see ``LatencyTable.pays``."""
    types = [n for n in (*DTYPE_BYTES, *_WEIGHT_TYPES, *WEIGHT_PATTERNS) if n != "float32"]
    if dtype not in types:
        known = ", ".join(types)
        raise UsageError(f"pays is asked of {dtype!r}; expected one of {known}")
    base = _in_float32(workload)
    measured = {row.workload: row for row in rows}
    pairs = [
        (row, measured[other])
        for w, row in measured.items()
        if w.family == base.family
        and (other := _in_type(w, dtype)) in measured
        and _distance(w, base) <= math.log(_NEAR)
    ]
    exact = [pair for pair in pairs if pair[0].workload == base]
    if not pairs:
        return Payoff(
            "unknown",
            note=f"no shape near {base} was measured in both float32 and {dtype}; "
            + _missing(dtype),
        )
    used = exact or pairs
    ratios = [other.latency_s / row.latency_s for row, other in used]
    verdicts = {_verdict(*pair) for pair in used}
    ratio = float(np.exp(np.mean(np.log(ratios))))
    if exact:
        return Payoff(verdicts.pop(), ratio, 1, "measured at this shape")
    if len(verdicts) > 1:
        return Payoff("unknown", ratio, len(used), "shapes near it differ; profile this one")
    return Payoff(verdicts.pop(), ratio, len(used), f"measured at {len(used)} shape(s) near it")


def _in_float32(workload: Workload) -> Workload:
    if isinstance(workload, MatMul):
        workload = workload.with_weight_bits(0).with_pattern("")
    return workload.with_dtype("float32")


def _in_type(workload: Workload, dtype: str) -> Workload | None:
    """A float32 workload in another type; None where it has no weights of its own."""
    if dtype in DTYPE_BYTES:
        return workload.with_dtype(dtype)
    if not isinstance(workload, MatMul) or not workload.weights:
        return None
    if dtype in WEIGHT_PATTERNS:
        return workload.with_pattern(dtype)
    return workload.with_weight_bits(_WEIGHT_TYPES[dtype])


def _missing(dtype: str) -> str:
    if dtype in _WEIGHT_TYPES:
        return f"profile the target with --bits {_WEIGHT_TYPES[dtype]}"
    if dtype in WEIGHT_PATTERNS:
        return f"profile the target with --pattern {dtype}"
    return "profile the target with files of both"


def _verdict(row: Measurement, other: Measurement) -> str:
    """Yes where the gain is more than what rounds of the two differ by."""
    margin = max(_LEAST, math.hypot(row.spread, other.spread))
    return "yes" if other.latency_s < row.latency_s * (1 - margin) else "no"


def _distance(one: Workload, other: Workload) -> float:
    """The larger difference of the logs of their channels."""
    pairs = zip(one.channels, other.channels, strict=True)
    return max(abs(math.log(a / b)) for a, b in pairs)
