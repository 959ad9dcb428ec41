"""Profile a device, keep latency tables, train a network to a latency budget on it.

Names load on first use, so that ``import latprof`` is quick and nothing asks for torch before
a network is traced.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from latprof._errors import (
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    ExportError,
    FailureError,
    FitError,
    InfeasibleBudgetError,
    LatprofError,
    MissingExtraError,
    ModelLoadError,
    ProtocolError,
    ShrinkError,
    TableError,
    TargetMismatchError,
    TraceError,
    UnknownDeviceError,
    UsageError,
    WorkloadError,
)

if TYPE_CHECKING:
    from latprof._measurement import Measurement, Timing
    from latprof._target import Target
    from latprof._workload import Conv2d, Elementwise, MatMul, Pool, Workload
    from latprof.compress import Compressor, Prune, export, load_shrunk, shrink, trace
    from latprof.devices import open_device, profile
    from latprof.surrogate import fit
    from latprof.tables import LatencyTable, plan

_HOMES = {
    "Compressor": "compress",
    "Conv2d": "_workload",
    "Elementwise": "_workload",
    "LatencyTable": "tables",
    "MatMul": "_workload",
    "Measurement": "_measurement",
    "Pool": "_workload",
    "Prune": "compress",
    "Target": "_target",
    "Timing": "_measurement",
    "Workload": "_workload",
    "export": "compress",
    "fit": "surrogate",
    "load_shrunk": "compress",
    "open_device": "devices",
    "plan": "tables",
    "profile": "devices",
    "shrink": "compress",
    "trace": "compress",
}

__all__ = [
    "Compressor",
    "Conv2d",
    "DeviceError",
    "DeviceLostError",
    "DeviceTimeoutError",
    "Elementwise",
    "ExportError",
    "FailureError",
    "FitError",
    "InfeasibleBudgetError",
    "LatencyTable",
    "LatprofError",
    "MatMul",
    "Measurement",
    "MissingExtraError",
    "ModelLoadError",
    "Pool",
    "ProtocolError",
    "Prune",
    "ShrinkError",
    "TableError",
    "Target",
    "TargetMismatchError",
    "Timing",
    "TraceError",
    "UnknownDeviceError",
    "UsageError",
    "Workload",
    "WorkloadError",
    "export",
    "fit",
    "load_shrunk",
    "open_device",
    "plan",
    "profile",
    "shrink",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'latprof' has no attribute {name!r}")
    return getattr(importlib.import_module(f"latprof.{_HOMES[name]}"), name)
