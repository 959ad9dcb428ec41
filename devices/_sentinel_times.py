"""What a device's sentinels take while it is idle, remembered from run to run.

A profile that never meets an idle moment would take a loaded device for a slow one. One that knows
the idle times waits, and flags what it measures beside background load.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from latprof.vocabulary import cache_dir, replace_file

__all__ = ["SentinelTimes", "load_sentinel_times", "save_sentinel_times"]

# Format history
# 1: pace.json: by device and sentinel, quickest_s and seen.
# 2: sentinel_times.json: a version, and the same under "devices" with fastest_s.
_VERSION = 2
#: Machines change, and run on batteries; a time that was not seen again for this long is forgotten.
_KEPT = timedelta(days=1)
_SEEN_AGAIN = 1.05


@dataclass(frozen=True)
class SentinelTimes:
    """What the sentinels of the core and of the memory take, in seconds; infinity where that is not
    known."""

    core_s: float = math.inf
    memory_s: float = math.inf

    def fastest(self, *others: SentinelTimes) -> SentinelTimes:
        """The least of each sentinel."""
        times = (self, *others)
        return SentinelTimes(min(t.core_s for t in times), min(t.memory_s for t in times))


def load_sentinel_times(device: str) -> SentinelTimes:
    """What the sentinels of ``device`` take while it is idle, as far as is known."""
    return _times_in(_recent().get(device, {}))


def save_sentinel_times(device: str, times: SentinelTimes) -> None:
    """Remember what a run has seen of a device, under a name that no other device has.

    Without a cache folder that can be written to, nothing is remembered: the next run begins anew.
    """
    known = _recent()
    entries = known.get(device, {})
    now = datetime.now(UTC).isoformat(timespec="seconds")
    seen = {
        sentinel: {"fastest_s": fastest_s, "seen": now}
        for sentinel, fastest_s in vars(times.fastest(_times_in(entries))).items()
        if fastest_s < math.inf and getattr(times, sentinel) <= _SEEN_AGAIN * fastest_s
    }
    if not seen:
        return
    known[device] = entries | seen
    text = json.dumps({"version": _VERSION, "devices": known}, indent=1)
    try:
        replace_file(_path(), f"{text}\n".encode())
    except OSError:
        return


def _times_in(entries: Mapping[str, Mapping[str, Any]]) -> SentinelTimes:
    return SentinelTimes(**{name: entry["fastest_s"] for name, entry in entries.items()})


def _recent() -> dict[str, dict[str, dict[str, Any]]]:
    """By device and sentinel, what it takes and when that was seen last; nothing too old."""
    oldest = datetime.now(UTC) - _KEPT
    try:
        return {
            device: {
                sentinel.name: entries[sentinel.name]
                for sentinel in fields(SentinelTimes)
                if sentinel.name in entries
                and datetime.fromisoformat(entries[sentinel.name]["seen"]) >= oldest
                and entries[sentinel.name]["fastest_s"] > 0
            }
            for device, entries in _read().items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none yet, or not ours
        return {}


def _read() -> dict[str, Any]:
    """The file's devices; those of the file of version 1 where there is no newer one."""
    try:
        known = json.loads(_path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        former = json.loads(_path().with_name("pace.json").read_text(encoding="utf-8"))
        return {
            device: {
                name: {"fastest_s": entry["quickest_s"], "seen": entry["seen"]}
                for name, entry in entries.items()
            }
            for device, entries in former.items()
        }
    return dict(known["devices"]) if known["version"] == _VERSION else {}


def _path() -> Path:
    return cache_dir() / "sentinel_times.json"
