"""What state a GPU is in: clocks, power, what slows it. Part of the agent.

Read through NVML (the module pynvml of nvidia-ml-py) and recorded; nothing is set unless asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latprof.devices.agent._energy import NvmlEnergy
from latprof.devices.agent.cuda._driver import GpuInfo
from latprof.devices.agent.runtimes._base import Refused

__all__ = ["GpuState", "parse_state"]

#: nvmlClocksEventReason*, nvml.h; what NVML calls them, in its documentation's order.
_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
#: Those that make the card slower than it would be at rest.
_SLOWING = ("sw_power_cap", "hw_slowdown", "sync_boost", "sw_thermal_slowdown",
            "hw_thermal_slowdown", "hw_power_brake_slowdown", "board_limit",
            "reliability")  # fmt: skip
_CLOCK_SM, _CLOCK_MEMORY, _TEMPERATURE_GPU = 1, 2, 0

#: Answer -> the function that gives it, and what follows the handle.
_QUESTIONS: dict[str, tuple[str, tuple[int, ...]]] = {
    "sm_mhz": ("nvmlDeviceGetClockInfo", (_CLOCK_SM,)),
    "memory_mhz": ("nvmlDeviceGetClockInfo", (_CLOCK_MEMORY,)),
    "sm_max_mhz": ("nvmlDeviceGetMaxClockInfo", (_CLOCK_SM,)),
    "memory_max_mhz": ("nvmlDeviceGetMaxClockInfo", (_CLOCK_MEMORY,)),
    "power_mw": ("nvmlDeviceGetPowerUsage", ()),
    "power_cap_mw": ("nvmlDeviceGetEnforcedPowerLimit", ()),
    "power_cap_default_mw": ("nvmlDeviceGetPowerManagementDefaultLimit", ()),
    "temperature_c": ("nvmlDeviceGetTemperature", (_TEMPERATURE_GPU,)),
    "performance_state": ("nvmlDeviceGetPerformanceState", ()),
    "persistence_mode": ("nvmlDeviceGetPersistenceMode", ()),
    "reasons": ("nvmlDeviceGetCurrentClocksThrottleReasons", ()),
}
_SCALES = {"_mhz": ("_hz", 1_000_000), "_mw": ("_w", 1e-3)}


def parse_state(answers: Mapping[str, int | str]) -> dict[str, Any]:
    """NVML's answers as we record them: Hz and watts; ``reasons``, and ``slowed_by`` among them.

    A question the card refuses has NVML's own words as its answer; they come under ``refused``.
    """
    state: dict[str, Any] = {}
    refused = {name: answer for name, answer in answers.items() if isinstance(answer, str)}
    for name, answer in answers.items():
        if isinstance(answer, str):
            continue
        suffix = next((s for s in _SCALES if name.endswith(s)), "")
        if suffix:
            unit, factor = _SCALES[suffix]
            state[name.removesuffix(suffix) + unit] = answer * factor
        elif name == "reasons":
            state["reasons"] = [text for bit, text in _REASONS.items() if answer & bit]
            if unknown := answer & ~sum(_REASONS):
                state["reasons"].append(f"unknown_{unknown:#x}")
            state["slowed_by"] = [text for text in state["reasons"] if text in _SLOWING]
        else:
            state[name] = answer
    return {**state, "refused": refused} if refused else state


class GpuState:
    """One GPU through NVML.

    Args:
        gpu: which, by its PCI address: NVML counts differently.
        clock_mhz: lock the SM clock there (needs root) until ``restore``; empty changes nothing.

    Raises:
        Refused: the clock cannot be locked.
    """

    def __init__(self, gpu: GpuInfo, clock_mhz: str = "") -> None:
        self._gpu, self._locked = gpu, False
        self._nvml: Any = None
        self._handle: Any = None
        self._missing = ""
        try:
            import pynvml
        except ModuleNotFoundError:
            self._missing = "pynvml is not installed; pip install nvidia-ml-py"
        else:
            try:
                pynvml.nvmlInit()
                self._handle = pynvml.nvmlDeviceGetHandleByPciBusId(gpu.pci_id.encode())
                self._nvml = pynvml
            except pynvml.NVMLError as exc:
                self._missing = str(exc)
        if clock_mhz:
            self._lock(clock_mhz)

    def _lock(self, clock_mhz: str) -> None:
        if not clock_mhz.isdigit():
            raise Refused(f"gpu_clock is {clock_mhz!r}; expected whole MHz, such as 1230")
        if self._nvml is None:
            raise Refused(f"gpu_clock cannot be set: {self._missing}")
        try:
            self._nvml.nvmlDeviceSetGpuLockedClocks(self._handle, int(clock_mhz), int(clock_mhz))
        except self._nvml.NVMLError as exc:
            raise Refused(
                f"gpu_clock is {clock_mhz}, and NVML refuses: {exc}; locking needs root"
            ) from exc
        self._locked = True

    def read(self) -> dict[str, Any]:
        """The card, and its state just now; JSON-ready."""
        known = {
            "name": self._gpu.name,
            "capability": ".".join(map(str, self._gpu.capability)),
            "multiprocessors": self._gpu.multiprocessors,
            "l2_bytes": self._gpu.l2_bytes,
            "memory_bytes": self._gpu.memory_bytes,
            "driver_cuda": self._gpu.driver_cuda,
            "clock_locked": self._locked,
        }
        if self._nvml is None:
            return {**known, "refused": {"nvml": self._missing}}
        driver = self._nvml.nvmlSystemGetDriverVersion()
        known["driver"] = driver.decode() if isinstance(driver, bytes) else driver
        return {**known, **parse_state({name: self._ask(*q) for name, q in _QUESTIONS.items()})}

    @property
    def energy(self) -> NvmlEnergy:
        """What it has taken."""
        return NvmlEnergy(self._nvml, self._handle, self._missing)

    def _ask(self, function: str, arguments: tuple[int, ...]) -> int | str:
        try:
            return int(getattr(self._nvml, function)(self._handle, *arguments))
        except self._nvml.NVMLError as exc:
            return str(exc)

    def restore(self) -> None:
        if self._locked:
            self._nvml.nvmlDeviceResetGpuLockedClocks(self._handle)
            self._locked = False
