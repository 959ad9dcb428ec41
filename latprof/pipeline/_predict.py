"""``predict``: a model's latency, from a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from latprof.models import at_batch, model_workloads
from latprof.surrogate import fit, fit_file
from latprof.tables import LatencyTable
from latprof.vocabulary import Target
from latprof.workloads import Workload

__all__ = ["OpLatency", "PredictResult", "predict"]


@dataclass(frozen=True)
class OpLatency:
    """One op and its predicted latency alone, seconds."""

    workload: Workload
    latency_s: float

    def to_dict(self) -> dict[str, Any]:
        return {"workload": self.workload.to_dict(), "latency_s": self.latency_s}


@dataclass(frozen=True)
class PredictResult:
    """The latency of a whole model on a target, with its 90% interval.

    Args:
        model: MODEL string.
        target: of the table.
        batch: inputs at once.
        latency_s, lower_s, upper_s: seconds.
        ops: every op alone, in the order in which they run; their sum is not ``latency_s``.
        warnings: one line each; empty where everything was read inside what was measured.
        calibrated: whether whole models in the table say how ops add up.
        note: what to do where they do not; empty otherwise.
    """

    model: str
    target: Target
    batch: int
    latency_s: float
    lower_s: float
    upper_s: float
    ops: tuple[OpLatency, ...]
    warnings: tuple[str, ...] = ()
    calibrated: bool = False
    note: str = ""

    @property
    def throughput_per_s(self) -> float:
        """Inputs per second."""
        return self.batch / self.latency_s

    @property
    def macs(self) -> int:
        return sum(op.workload.macs for op in self.ops)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        return {
            "model": self.model,
            "target": self.target.to_dict(),
            "batch": self.batch,
            "latency_s": self.latency_s,
            "lower_s": self.lower_s,
            "upper_s": self.upper_s,
            "throughput_per_s": self.throughput_per_s,
            "ops": [op.to_dict() for op in self.ops],
            "warnings": list(self.warnings),
            "calibrated": self.calibrated,
        }


def predict(
    model: str,
    table: str | Path | LatencyTable,
    *,
    method: str = "auto",
    batch: int = 1,
    seq: int | None = None,
    inputs: Mapping[str, Sequence[int]] = MappingProxyType({}),
    trust: bool = False,
) -> PredictResult:
    """Latency of ``model`` on the target of ``table``, with its 90% interval.

    Args:
        model: MODEL string or exported file; see ``latprof.profile``.
        table: latency table of the target.
        method: of the surrogate: ``auto``, ``tile``, ``linear``, ``pchip`` or ``cubic``.
        batch: inputs at once.
        seq: tokens of each input, of a model that takes tokens.
        inputs: {name: shape} of inputs whose dims a file leaves open.
        trust: load a ``.pt2`` file whatever it holds; it can run any code.

    Raises:
        ModelLoadError, TraceError, TableError, FitError: as they say.

    Example:
        >>> latprof.predict("model.onnx", "local.parquet").latency_s  # doctest: +SKIP
        0.00412
    """
    if isinstance(table, LatencyTable):
        surrogate = fit(table, method=method)
    else:
        surrogate = fit_file(table, method=method)
    workloads = at_batch(model_workloads(model, inputs=inputs, trust=trust, seq=seq), batch)
    whole, each = surrogate.predict_model(workloads), surrogate.predict(workloads)
    ops = tuple(OpLatency(w, float(s)) for w, s in zip(workloads, each.latency_s, strict=True))
    latency_s, lower_s, upper_s = map(float, (whole.latency_s, whole.lower_s, whole.upper_s))
    return PredictResult(
        model,
        surrogate.target,
        batch,
        latency_s,
        lower_s,
        upper_s,
        ops,
        (*((workloads.note,) if workloads.note else ()), *whole.warnings),
        whole.calibrated,
        whole.note,
    )
