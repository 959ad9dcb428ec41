"""Energy counters of the host: what its CPUs have taken since some moment. Part of the agent.

Linux's powercap shows RAPL (running average power limit), which Intel's and AMD's CPUs have: one
counter a package, in microjoules, that begins anew at ``max_energy_range_uj``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from latprof.devices.agent.runtimes._base import Prepared

__all__ = ["EnergyCounter", "NvmlEnergy", "RaplEnergy", "energy_per_call_j"]

_POWERCAP = Path("/sys/class/powercap")


class EnergyCounter(ABC):
    """A counter of energy.

    Attributes:
        missing: why there is none; "" where there is one.
    """

    missing: str = ""

    @abstractmethod
    def start(self) -> None:
        """Begin to count."""

    @abstractmethod
    def taken_j(self) -> float:
        """Joules since ``start``. Raises OSError where the counter cannot be read any more."""


class RaplEnergy(EnergyCounter):
    """All packages of this host, whatever runs on them.

    Args:
        root: where powercap is mounted.
    """

    def __init__(self, root: Path = _POWERCAP) -> None:
        packages = [
            zone
            for zone in sorted(root.glob("intel-rapl:*"))
            if zone.name.count(":") == 1 and _text(zone / "name").startswith("package")
        ]
        self._zones = [zone / "energy_uj" for zone in packages]
        self._ranges_uj = [int(_text(z / "max_energy_range_uj") or 0) for z in packages]
        self._before_uj: list[int] = []
        if not packages:
            self.missing = f"no counter of energy: {root} has no RAPL of a package"
            return
        try:
            self._read()
        except OSError as exc:
            self.missing = (
                f"{exc.filename} may not be read: {exc.strerror}; run as root, or "
                f"sudo chmod a+r {root}/intel-rapl:*/energy_uj"
            )

    def start(self) -> None:
        self._before_uj = self._read()

    def taken_j(self) -> float:
        pairs = zip(self._before_uj, self._read(), self._ranges_uj, strict=True)
        return sum(_risen(before, now, most) for before, now, most in pairs) * 1e-6

    def _read(self) -> list[int]:
        return [int(zone.read_text()) for zone in self._zones]


class NvmlEnergy(EnergyCounter):
    """One GPU, through NVML, whatever runs on it. GPUs before Volta have no such counter.

    Args:
        nvml: the module pynvml; None where there is none.
        handle: of the GPU.
        missing: why there is no NVML.
    """

    def __init__(self, nvml: Any, handle: Any, missing: str = "") -> None:
        self._nvml, self._handle, self._before_mj = nvml, handle, 0
        self.missing = missing
        if nvml is not None:
            try:
                self._read()
            except nvml.NVMLError as exc:
                self.missing = f"no counter of energy: NVML says {exc}"

    def start(self) -> None:
        self._before_mj = self._read()

    def taken_j(self) -> float:
        return (self._read() - self._before_mj) * 1e-3

    def _read(self) -> int:
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))


def energy_per_call_j(
    counter: EnergyCounter, prepared: Prepared, *, seconds: float, resolution_s: float
) -> float:
    """Joules that a call takes: the mean power while it is timed, times its mean latency."""
    prepared.time(measure_s=seconds / 10, resolution_s=resolution_s)  # clocks rise, memory is taken
    counter.start()
    timed = prepared.time(measure_s=seconds, resolution_s=resolution_s)
    power_w = counter.taken_j() / timed.cost_s
    return power_w * sum(timed.samples_s) / len(timed.samples_s)


def _risen(before: int, now: int, most: int) -> int:
    """What a counter that begins anew after ``most`` has risen by."""
    return now - before if now >= before else now - before + most + 1


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
