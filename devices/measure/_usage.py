"""Memory and energy of a model file, from a few fresh processes."""

from __future__ import annotations

import statistics
from pathlib import Path

from latprof.devices._device import Device
from latprof.devices._usage import Usage

__all__ = ["measure_usage"]

#: How often, and how long each runs for its energy: RAPL counts in steps of a millisecond.
_PROCESSES, _ENERGY_S = 3, 0.5


def measure_usage(device: Device, path: Path) -> Usage:
    """What ``path`` takes in memory and in energy: the median of three fresh processes.

    What the device cannot tell is missing, with the reason.

    Raises:
        ModelLoadError: ``path`` is not a file.
        WorkloadError: the runtime refuses it.
        DeviceError: the device is gone.
    """
    each = [device.usage(path, measure_s=_ENERGY_S) for _ in range(_PROCESSES)]
    missing = {name: why for usage in each for name, why in usage.missing.items()}
    figures = {
        name: [getattr(usage, attribute) for usage in each]
        for name, attribute in (
            ("memory", "memory_bytes"), ("arena", "arena_bytes"), ("energy", "energy_j")
        )
        if name not in missing
    }  # fmt: skip
    median = {name: float(statistics.median(values)) for name, values in figures.items()}
    return Usage(median.get("memory"), median.get("arena"), median.get("energy"), missing)
