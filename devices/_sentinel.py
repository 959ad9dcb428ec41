"""A look at the pace of the core, before and after each timing. Part of the agent.

The cores of a virtual machine, or of a laptop with other work, change pace for a tenth of a second
at a time, each on its own. Only what is timed right beside a reading knows the reading's pace; and
a calm core is worth a short wait, for a slow reading has to be taken again.
"""

from __future__ import annotations

import math
import time

from latprof.devices._host import Knobs
from latprof.devices.runtimes._base import Prepared

__all__ = ["Sentinel"]

_LOOK_S = 0.0004
_NAP_S = 0.001
#: A core that comes from other work reaches its pace in some milliseconds: on an Intel server with
#: AVX-512 it runs matrices at 1.2 times of it for one to four. A look slower than _SLOWER times the
#: best one is taken again, _LOOKS times in all: what slows a core for longer shows in all of them.
_SLOWER, _LOOKS = 1.08, 8
#: Patience grows each time that the core is calm at once, so that where less than about a tenth of
#: the time is calm, what is there is measured as it is.
_MORE_S = 0.1


class Sentinel:
    """One fixed workload, timed for a moment.

    Args:
        prepared: the workload.
        knobs: of this process: they know which other cores are as good.
        resolution_s: of the clock.
        every_s: within this time after a look, the next one sees the same.
        patience_s: to wait in all, at first, and the most that it grows to again.
    """

    def __init__(
        self,
        prepared: Prepared,
        knobs: Knobs,
        *,
        resolution_s: float,
        every_s: float,
        patience_s: float,
    ) -> None:
        self._prepared, self._knobs = prepared, knobs
        self._resolution_s, self._every_s = resolution_s, every_s
        self._patience_s = self._most_s = patience_s
        self._seen_s, self._seen_at = 0.0, -math.inf
        self._best_s = 0.0
        #: Spent on the last look.
        self.cost_s = 0.0

    def look(self) -> float:
        """Seconds that a call takes just now: the 20th percentile of a few."""
        if time.perf_counter() - self._seen_at >= self._every_s:
            self._seen_s, self.cost_s = math.inf, 0.0
            for _ in range(_LOOKS):
                samples_s, _, cost_s = self._prepared.time(
                    measure_s=_LOOK_S, resolution_s=self._resolution_s
                )
                self._seen_s = min(self._seen_s, sorted(samples_s)[len(samples_s) // 5])
                self.cost_s += cost_s
                if self._seen_s <= _SLOWER * self._best_s:
                    break
            self._best_s = min(self._seen_s, self._best_s or math.inf)
            self._seen_at = time.perf_counter()
        return self._seen_s

    def settle(self, calm_s: float) -> float:
        """Wait for a core on which a call takes at most ``calm_s``; what it took in the end."""
        seconds = self.look()
        if seconds <= calm_s:
            self._patience_s = min(self._patience_s + _MORE_S, self._most_s)
            return seconds
        deadline = time.perf_counter() + self._patience_s
        while seconds > calm_s and time.perf_counter() < deadline:
            time.sleep(_NAP_S)
            self._knobs.move()
            seconds = self.look()
        self._patience_s = max(0.0, deadline - time.perf_counter())
        return seconds
