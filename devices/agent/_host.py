"""What the device host is, and its knobs: affinity and frequency governor.

Part of the agent. Every knob is set, read back, and restored; a refusal is
recorded, never fatal.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from latprof.devices.agent.runtimes._base import Refused

__all__ = ["Knobs", "describe_cpu", "due_share"]

_CPUS = Path("/sys/devices/system/cpu")
_USE_S = 0.06  # six ticks of the usual 100 Hz: over so long the use of cores is compared
_MAX_CORES = 4  # to choose from while timing


def describe_cpu() -> str:
    """The CPU as a person would name it, stable over reboots: ``AMD EPYC, 2 cores``."""
    cores = os.cpu_count() or 1
    return f"{_cpu_name()}, {cores} core{'s' if cores > 1 else ''}"


def _cpu_name() -> str:
    if sys.platform == "darwin":
        brand = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(brand, capture_output=True, text=True, check=False).stdout.strip()
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    board = _read(Path("/proc/device-tree/model")).strip("\0 \n")  # ARM boards: Raspberry Pi 5 ...
    return board or platform.processor() or platform.machine()


class Knobs:
    """Sets what keeps timings still, and puts it back.

    Args:
        threads: cores wanted.
        affinity: ``auto`` (the idlest of the fastest cores, the last ones first: the first serve
            interrupts), ``none``, or a comma-separated list of cores.
        governor: frequency governor to ask for; empty leaves it alone.

    Raises:
        Refused: cores that this process may not use.
    """

    def __init__(self, threads: int, affinity: str = "auto", governor: str = "") -> None:
        self._refused: dict[str, str] = {}
        self._governors: dict[Path, str] = {}
        self._cores: list[int] = []  # as good as each other, the one in use first
        if affinity != "none":
            self._pin(threads, affinity)
        if governor:
            self._set_governor(governor)

    def _pin(self, threads: int, affinity: str) -> None:
        try:
            allowed = sorted(os.sched_getaffinity(0))
            if affinity != "auto":
                chosen = [int(core) for core in affinity.split(",")]
                if not set(chosen) <= set(allowed):
                    raise Refused(
                        f"affinity is {affinity!r}; expected auto, none, or some of the cores "
                        f"{','.join(map(str, allowed))}"
                    )
                os.sched_setaffinity(0, chosen)
                return
            cores = _idlest(allowed)
            os.sched_setaffinity(0, cores[:threads])
            if threads == 1:  # the threads of a pool stay where they were started
                self._cores = [core for core in cores if _kind(core) == _kind(cores[0])][
                    :_MAX_CORES
                ]
        except (AttributeError, OSError) as exc:  # not Linux; a container that forbids it
            self._refused["affinity"] = f"{affinity}: {exc}"

    def move(self) -> None:
        """Go on on another core as good as this one, where there is one to choose."""
        if len(self._cores) > 1:
            self._cores.append(self._cores.pop(0))
            os.sched_setaffinity(0, self._cores[:1])

    def _set_governor(self, governor: str) -> None:
        paths = sorted(_CPUS.glob("cpu[0-9]*/cpufreq/scaling_governor"))
        if not paths:
            self._refused["governor"] = f"{governor}: this host has no cpufreq"
        for path in paths:
            before = _read(path).strip()
            try:
                path.write_text(governor)
            except OSError as exc:
                self._refused["governor"] = f"{governor}: {exc}"
                return
            self._governors[path] = before

    def read_back(self) -> dict[str, Any]:
        """The knobs as they are now, JSON-ready."""
        found: dict[str, Any] = {
            "host": platform.node(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "python": platform.python_version(),
            "governor": _read(_CPUS / "cpu0/cpufreq/scaling_governor").strip(),
            "boost": _read(_CPUS / "cpufreq/boost").strip(),
            "refused": self._refused,
        }
        if hasattr(os, "sched_getaffinity"):
            found["affinity"] = sorted(os.sched_getaffinity(0))
        if hasattr(os, "getloadavg"):
            found["load_1min"] = os.getloadavg()[0]
        clocks = [
            int(khz) * 1000
            for path in sorted(_CPUS.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
            if (khz := _read(path).strip()).isdigit()
        ]
        if clocks:
            found["clocks_hz"] = clocks
        return found

    def restore(self) -> None:
        for path, governor in self._governors.items():
            path.write_text(governor)
        self._governors.clear()


def due_share() -> float:
    """The share of a core that each running task can have just now, at most 1.

    A scheduler lets a task that has just woken run a few milliseconds before others get their turn,
    so a short timing may have had its core to itself on a machine with more to do than cores. What
    the others leave behind in caches and clocks is there all the same.
    """
    for line in _read(Path("/proc/stat")).splitlines():
        if line.startswith("procs_running"):
            return min(1.0, (os.cpu_count() or 1) / max(1, int(line.split()[1])))
    return 1.0


def _idlest(allowed: list[int]) -> list[int]:
    """The cores, those of the highest clock first, and of these the least used just now."""
    clock = {core: _kind(core)[0] for core in allowed}
    top = max(clock.values())
    before = _busy_ticks()
    time.sleep(_USE_S)
    used = {c: ticks - before[c] for c, ticks in _busy_ticks().items()}
    return sorted(allowed, key=lambda c: (clock[c] != top, used.get(c, 0), -c))


def _kind(core: int) -> tuple[int, str]:
    """What makes cores as good as each other: their highest clock, in kHz, and their package."""
    folder = _CPUS / f"cpu{core}"
    clock_khz = int(_read(folder / "cpufreq/cpuinfo_max_freq").strip() or 0)
    return clock_khz, _read(folder / "topology/physical_package_id").strip()


def _busy_ticks() -> dict[int, int]:
    """Ticks that each core has worked since boot; empty where there is no /proc/stat."""
    ticks = {}
    for line in _read(Path("/proc/stat")).splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            ticks[int(name[3:])] = user + nice + system + irq + softirq + steal
    return ticks


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # absent on this system
        return ""
