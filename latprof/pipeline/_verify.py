"""An exported file against its prediction and against the network it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latprof.devices import Device, Event, measure_files, open_target, run_inference
from latprof.errors import DeviceError
from latprof.models import model_workloads
from latprof.surrogate import fit
from latprof.tables import LatencyTable
from latprof.vocabulary import Target

__all__ = ["Verification", "verify"]


@dataclass(frozen=True)
class Verification:
    """Measured and predicted latency in seconds; ``max_rel_error`` compares outputs with the
    reference written at export, None where there is none."""

    file: str
    target: str
    latency_s: float
    predicted_s: float
    max_rel_error: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def verify(
    file: Path,
    device: str,
    table: LatencyTable,
    *,
    on_event: Callable[[Event], None] | None = None,
    **settings: Any,
) -> Verification:
    """Measure ``file`` on ``device`` as the table's target has it; ``settings`` as open_device.

    Raises:
        TargetMismatchError: the device is not the one the table was measured on.
        ModelLoadError: no such file, or the runtime cannot load it.
    """
    target: Target = table.target
    workloads = model_workloads(str(file))
    with open_target(device, target, **settings) as opened:
        (timing,) = measure_files(opened, [file], on_event=on_event)
        if not timing.usable:
            raise DeviceError(f"{file} could not be timed on {device}: {timing.detail}")
        checked = file.with_suffix(".check.npz").is_file()
        error = _largest_error(opened, file) if checked else None
    predicted = fit(table).predict_model(workloads)
    predicted_s = float(np.sum(predicted.latency_s))
    return Verification(str(file), str(target), timing.latency_s, predicted_s, error)


def _largest_error(device: Device, file: Path) -> float:
    """Largest |got - expected| relative to the largest |expected| of an output."""
    from latprof.compress import load_check

    check = load_check(file)
    outputs = run_inference(device, file, check.inputs)
    return max(
        float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30))
        for got, want in zip(outputs, check.outputs, strict=True)
    )
