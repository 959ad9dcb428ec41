"""A look at the pace of the core, or of its memory, before and after a timing. Part of the agent.

The cores of a virtual machine, or of a laptop with other work, change pace for a tenth of a second
at a time, each on its own. Only what is timed right beside a reading knows the reading's pace; and
a calm core is worth a short wait, for a slow reading has to be taken again. The memory beyond the
near caches is shared with others too, and changes pace as fast, whatever the core does.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from latprof.devices.agent._host import Knobs
from latprof.devices.agent.runtimes._base import Prepared

__all__ = ["AT_CORE", "AT_MEMORY", "Look", "Sentinel"]

_NAP_S = 0.001


@dataclass(frozen=True)
class Look:
    """Args:
    seconds: of timing.
    percentile: of the calls that tells.
    slower: a look this many times slower than the best is taken again,
    times: so many times in all; what slows a device down for longer shows in all of them.
    """

    seconds: float
    percentile: int
    slower: float
    times: int


#: A core that comes from other work reaches its pace in some milliseconds: on an Intel server with
#: AVX-512 it runs matrices at 1.2 times of it for one to four.
AT_CORE = Look(seconds=0.0004, percentile=20, slower=1.08, times=8)
#: Memory is disturbed for a part of a call at a time.
AT_MEMORY = Look(seconds=0.0015, percentile=50, slower=1.15, times=2)
#: Patience grows each time that the core is calm at once, so that where less than about a tenth of
#: the time is calm, what is there is measured as it is.
_MORE_S = 0.1


class Sentinel:
    """One fixed workload, timed for a moment.

    Args:
        prepared: the workload.
        knobs: of this process: they know which other cores are as good.
        at: how one looks.
        resolution_s: of the clock.
        every_s: within this time after a look, the next one sees the same.
        patience_s: to wait in all, at first, and the most that it grows to again; none for memory,
            which is the same on all cores, and busy for long.
    """

    def __init__(
        self,
        prepared: Prepared,
        knobs: Knobs,
        *,
        resolution_s: float,
        at: Look = AT_CORE,
        every_s: float = 0.0,
        patience_s: float = 0.0,
    ) -> None:
        self._prepared, self._knobs = prepared, knobs
        self._resolution_s, self._every_s = resolution_s, every_s
        self._patience_s = self._most_s = patience_s
        self._seen_s, self._seen_at = 0.0, -math.inf
        self._best_s = 0.0
        self._at = at
        #: Spent on the last look.
        self.cost_s = 0.0

    def look(self) -> float:
        """Seconds that a call takes just now."""
        if time.perf_counter() - self._seen_at >= self._every_s:
            self._seen_s, self.cost_s = math.inf, 0.0
            for _ in range(self._at.times):
                samples_s, _, cost_s = self._prepared.time(
                    measure_s=self._at.seconds, resolution_s=self._resolution_s
                )
                seconds = sorted(samples_s)[len(samples_s) * self._at.percentile // 100]
                self._seen_s = min(self._seen_s, seconds)
                self.cost_s += cost_s
                if self._seen_s <= self._at.slower * self._best_s:
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
