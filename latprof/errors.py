"""Every error latprof raises, drawn once.

    LatprofError
    |-- UsageError                  what was asked cannot be done; exit code 2
    |   |-- MissingExtraError       a package is missing; names the pip install that mends it
    |   |-- UnknownDeviceError      no such device, or more than one where one was named
    |   |-- ModelLoadError          MODEL does not import, open or run
    |   |-- TraceError              the model's forward cannot be traced
    |   |-- TableError              a table is corrupt, truncated or of an unknown version
    |   |-- TargetMismatchError     a table belongs to another target
    |   `-- InfeasibleBudgetError   the budget lies outside what any width can reach
    `-- FailureError                it could be done, and failed; exit code 1
        |-- DeviceError             the device, its agent or its transport failed
        |   |-- DeviceLostError     died, unplugged, or the connection dropped
        |   |-- DeviceTimeoutError  no answer within the stated limit
        |   |-- ProtocolError       garbage, or another protocol version
        |   `-- WorkloadError       the runtime refused or failed one workload
        |-- FitError                a surrogate cannot be fitted to this table
        |-- TrainingError           training cannot go on: its loss is not finite
        |-- ShrinkError             the small network is not the masked network
        `-- ExportError             the exported file is not the network it came from

Each message is one line: what was got, what was expected, what to try.
"""

from __future__ import annotations

__all__ = [
    "DeviceError",
    "DeviceLostError",
    "DeviceTimeoutError",
    "ExportError",
    "FailureError",
    "FitError",
    "InfeasibleBudgetError",
    "LatprofError",
    "MissingExtraError",
    "ModelLoadError",
    "ProtocolError",
    "ShrinkError",
    "TableError",
    "TargetMismatchError",
    "TraceError",
    "TrainingError",
    "UnknownDeviceError",
    "UsageError",
    "WorkloadError",
]


class LatprofError(Exception):
    """Base of every error latprof raises on purpose."""

    exit_code = 1


class UsageError(LatprofError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class MissingExtraError(UsageError):
    """A package outside the core is needed and not installed."""

    def __init__(self, package: str, extra: str, why: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(f"{why} needs {package}; install it with: pip install 'latprof[{extra}]'")


class UnknownDeviceError(UsageError):
    """No device answers to the name, or several do."""


class ModelLoadError(UsageError):
    """MODEL does not import, open, or run."""


class TraceError(UsageError):
    """The model's forward cannot be turned into a graph."""


class TableError(UsageError):
    """A table file is missing, corrupt, truncated, or of an unknown version."""


class TargetMismatchError(UsageError):
    """Two targets where one is required."""


class InfeasibleBudgetError(UsageError):
    """No choice of widths meets the budget."""


class FailureError(LatprofError):
    """Something that should work did not."""


class DeviceError(FailureError):
    """The device, its agent, or the transport to it failed."""


class DeviceLostError(DeviceError):
    """The device went away: process died, unplugged, connection dropped."""


class DeviceTimeoutError(DeviceError):
    """The device did not answer in time."""


class ProtocolError(DeviceError):
    """The device answered something that is not the protocol."""


class WorkloadError(DeviceError):
    """The runtime refused or failed this workload; others may still run."""


class FitError(FailureError):
    """A surrogate cannot be fitted to this table."""


class TrainingError(FailureError):
    """Training cannot go on."""


class ShrinkError(FailureError):
    """The small network does not compute what the masked network computes."""


class ExportError(FailureError):
    """The exported file does not compute what the network computes."""
