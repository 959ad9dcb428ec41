"""The best pace of a device, remembered from run to run.

A profile that meets no calm moment takes for normal what is slow; one that knows better waits, and
flags what it gets.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from latprof.vocabulary import cache_dir

__all__ = ["Pace", "recall", "remember"]

#: Machines change, and run on batteries; what was not seen again for this long is forgotten.
_KEPT = timedelta(days=1)
_SEEN_AGAIN = 1.05


@dataclass(frozen=True)
class Pace:
    """What the sentinels of the core and of the memory take, in seconds; infinity where that is not
    known."""

    core_s: float = math.inf
    memory_s: float = math.inf

    def least(self, *others: Pace) -> Pace:
        """Of each sentinel the least."""
        paces = (self, *others)
        return Pace(min(p.core_s for p in paces), min(p.memory_s for p in paces))


def recall(device: str) -> Pace:
    """What its sentinels take undisturbed, as far as is known."""
    return _pace_in(_fresh().get(device, {}))


def remember(device: str, best: Pace) -> None:
    """Take in what a run has seen of a device, by a name that no other has."""
    known = _fresh()
    entries = known.get(device, {})
    now = datetime.now(UTC).isoformat(timespec="seconds")
    seen = {
        of: {"quickest_s": best_s, "seen": now}
        for of, best_s in vars(best.least(_pace_in(entries))).items()
        if best_s < math.inf and getattr(best, of) <= _SEEN_AGAIN * best_s
    }
    if not seen:
        return
    known[device] = entries | seen
    path = _path()
    part = path.with_suffix(f".{os.getpid()}.part")
    with contextlib.suppress(OSError):  # no cache, no memory: the next run begins anew
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        part.replace(path)


def _pace_in(entries: dict[str, dict[str, Any]]) -> Pace:
    return Pace(**{of: entry["quickest_s"] for of, entry in entries.items()})


def _fresh() -> dict[str, dict[str, dict[str, Any]]]:
    """By device and sentinel, what it takes and when that was seen last."""
    oldest = datetime.now(UTC) - _KEPT
    try:
        known = json.loads(_path().read_text(encoding="utf-8"))
        return {
            device: {
                of.name: entries[of.name]
                for of in fields(Pace)
                if of.name in entries
                and datetime.fromisoformat(entries[of.name]["seen"]) >= oldest
                and entries[of.name]["quickest_s"] > 0
            }
            for device, entries in known.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none yet, or not ours
        return {}


def _path() -> Path:
    return cache_dir() / "pace.json"
