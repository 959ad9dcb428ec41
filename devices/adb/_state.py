"""What the phone is and how it is: clusters of cores, thermals, battery, clocks."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from latprof.devices.adb._transport import Transport, run_checked
from latprof.errors import ProtocolError, UnknownDeviceError

__all__ = ["THERMAL_NAMES", "Cluster", "Facts", "State", "read_facts", "read_state"]

#: PowerManager.THERMAL_STATUS_*, by number.
THERMAL_NAMES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")

#: Names of 1, 2, 3 and 4 clusters, slowest first.
_CLUSTER_NAMES = {
    1: ("all",),
    2: ("little", "big"),
    3: ("little", "mid", "big"),
    4: ("little", "mid", "mid2", "big"),
}

_PROPERTIES = {
    "model": "ro.product.model",
    "abi": "ro.product.cpu.abi",
    "soc": "ro.soc.model",
    "android": "ro.build.version.release",
    "build": "ro.build.fingerprint",
    "serial": "ro.serialno",
}

_FACTS = (
    "; ".join(f'echo "{name}=$(getprop {key})"' for name, key in _PROPERTIES.items())
    + '; echo "boot_id=$(cat /proc/sys/kernel/random/boot_id)"'
    + '; echo "cores=$(ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l)"'
    + "; for p in /sys/devices/system/cpu/cpufreq/policy*; do"
    + ' echo "policy=${p##*policy}:$(cat $p/related_cpus):$(cat $p/cpuinfo_max_freq)"; done'
)

_STATE = (
    "dumpsys battery; dumpsys thermalservice; dumpsys power | grep mWakefulness="
    '; echo "low_power=$(settings get global low_power)"'
    "; for z in /sys/class/thermal/thermal_zone*; do"
    ' echo "zone=$(cat $z/type 2>/dev/null):$(cat $z/temp 2>/dev/null)"; done'
    "; for p in /sys/devices/system/cpu/cpufreq/policy*; do"
    ' echo "clock=${p##*policy}:$(cat $p/scaling_cur_freq):$(cat $p/scaling_max_freq)'
    ':$(cat $p/scaling_governor)"; done 2>/dev/null'
)


@dataclass(frozen=True)
class Cluster:
    """Cores of one kind.

    Args:
        name: ``little``, ``mid``, ``big``, or ``all`` where they are of one kind.
        cpus: their numbers.
        max_hz: their highest clock; 0 where the phone does not tell.
        policy: the cpufreq policy that governs them; -1 where there is none.
    """

    name: str
    cpus: tuple[int, ...]
    max_hz: int = 0
    policy: int = -1

    @property
    def mask(self) -> str:
        """For ``taskset``: hexadecimal, bit n for CPU n."""
        return f"{sum(1 << cpu for cpu in self.cpus):x}"


@dataclass(frozen=True)
class Facts:
    """What does not change while the phone is up."""

    model: str
    abi: str
    soc: str
    android: str
    build: str
    serial: str
    boot_id: str
    clusters: tuple[Cluster, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "clusters": [asdict(c) for c in self.clusters]}

    def cluster(self, name: str) -> Cluster:
        """By name; "" is the fastest.

        Raises:
            UnknownDeviceError: the phone has no such cluster.
        """
        for cluster in self.clusters:
            if cluster.name == (name or self.clusters[-1].name):
                return cluster
        known = ", ".join(
            f"{c.name} (CPUs {c.cpus[0]}-{c.cpus[-1]}, {c.max_hz / 1e9:.2f} GHz)"
            for c in self.clusters
        )
        raise UnknownDeviceError(f"{self.model} has no cluster {name!r}; expected one of: {known}")


@dataclass(frozen=True)
class State:
    """The phone's state just now; None where it does not tell.

    Args:
        thermal: index into THERMAL_NAMES.
        max_hz: the cap on each policy's clock now, by policy number.
        zones_c: temperature of each thermal zone.
    """

    battery_percent: int | None
    charging: bool
    battery_saver: bool
    awake: bool | None
    thermal: int | None
    zones_c: dict[str, float]
    clocks_hz: dict[int, int]
    max_hz: dict[int, int]
    governors: dict[int, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        by_name = asdict(self)
        for key in ("clocks_hz", "max_hz", "governors"):
            by_name[key] = {str(policy): value for policy, value in by_name[key].items()}
        return by_name


def read_facts(transport: Transport) -> Facts:
    """Raises ProtocolError where the phone's shell does not answer as Android's does."""
    text = run_checked(transport, _FACTS)
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if not found.get("model") or not found.get("abi"):
        raise ProtocolError(
            f"{transport.serial}: getprop gives no model or ABI ({text[:120]!r}); "
            "expected an Android phone"
        )
    policies = [line[7:] for line in text.splitlines() if line.startswith("policy=")]
    return Facts(
        **{name: found.get(name, "") for name in (*_PROPERTIES, "boot_id")},
        clusters=_clusters(policies, int(found.get("cores") or 1)),
    )


def _clusters(policies: list[str], cores: int) -> tuple[Cluster, ...]:
    """From ``POLICY:CPU CPU ...:KHZ`` lines, slowest first; equal clocks are one kind."""
    kinds: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
    for line in policies:
        policy, cpus, khz = line.split(":")
        if policy.isdigit() and cpus.strip() and khz.strip().isdigit():
            numbers = tuple(int(cpu) for cpu in cpus.split())
            kinds.setdefault(int(khz) * 1000, []).append((int(policy), numbers))
    if not kinds:
        return (Cluster("all", tuple(range(cores))),)
    names = _CLUSTER_NAMES.get(len(kinds)) or tuple(f"cluster{i}" for i in range(len(kinds)))
    return tuple(
        Cluster(name, tuple(sorted(cpu for _, cpus in group for cpu in cpus)), hz, group[0][0])
        for name, (hz, group) in zip(names, sorted(kinds.items()), strict=True)
    )


def read_state(transport: Transport) -> State:
    """What the phone tells of itself now; a service it lacks leaves its fields None."""
    text = transport.run(_STATE).output
    level, thermal = _number(text, r"^ *level: (\d+)"), _number(text, r"^Thermal Status: (\d+)")
    if "HAL Ready: false" in text:
        thermal = None  # the service answers 0 for want of a sensor
    wakefulness = re.search(r"mWakefulness=(\w+)", text)
    clocks = [c.split(":") for c in re.findall(r"^clock=(\d+:\d*:\d*:.*)$", text, re.MULTILINE)]
    return State(
        battery_percent=level,
        charging=bool(re.search(r"^ *(AC|USB|Wireless|Dock) powered: true", text, re.MULTILINE)),
        battery_saver=bool(re.search(r"^low_power=1", text, re.MULTILINE)),
        awake=wakefulness[1] == "Awake" if wakefulness else None,
        thermal=thermal,
        zones_c=_zones(text),
        clocks_hz={int(p): int(hz) * 1000 for p, hz, _, _ in clocks if hz},
        max_hz={int(p): int(hz) * 1000 for p, _, hz, _ in clocks if hz},
        governors={int(p): governor for p, _, _, governor in clocks if governor},
    )


def _zones(text: str) -> dict[str, float]:
    """Zone temperatures; kernels write them in millidegrees, some in degrees."""
    zones = {}
    for kind, value in re.findall(r"^zone=(\S*):(-?\d+)$", text, re.MULTILINE):
        degrees = int(value) / 1000 if abs(int(value)) > 1000 else float(value)
        if kind and -40 < degrees < 150:
            zones[kind] = degrees
    return zones


def _number(text: str, pattern: str) -> int | None:
    found = re.search(pattern, text, re.MULTILINE)
    return int(found[1]) if found else None
