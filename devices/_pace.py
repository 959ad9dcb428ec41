"""The best pace that a device has shown, remembered from run to run.

A profile that meets no calm moment takes for normal what is slow; one that knows better waits, and
flags what it gets.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from latprof._cache import cache_dir

__all__ = ["recall", "remember"]

#: Machines change, and run on batteries; what was not seen again for this long is forgotten.
_KEPT = timedelta(days=1)
_SEEN_AGAIN = 1.05


def recall(device: str) -> float:
    """What its sentinel takes undisturbed, in seconds; infinity where that is not known."""
    return float(_fresh().get(device, {}).get("quickest_s", math.inf))


def remember(device: str, quickest_s: float) -> None:
    """Take in what a run has seen of a device, by a name that no other has."""
    known = _fresh()
    before_s = known.get(device, {}).get("quickest_s", math.inf)
    if quickest_s > _SEEN_AGAIN * before_s:
        return
    known[device] = {
        "quickest_s": min(quickest_s, before_s),
        "seen": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = _path()
    part = path.with_suffix(f".{os.getpid()}.part")
    with contextlib.suppress(OSError):  # no cache, no memory: the next run begins anew
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        part.replace(path)


def _fresh() -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(_path().read_text(encoding="utf-8"))
        oldest = datetime.now(UTC) - _KEPT
        return {k: v for k, v in known.items() if datetime.fromisoformat(v["seen"]) >= oldest}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none yet, or not ours
        return {}


def _path() -> Path:
    return cache_dir() / "pace.json"
