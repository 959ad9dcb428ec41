"""Times a fixed workload before and after each timing: how fast is the core, or its memory, just
now? Part of the agent.

The cores of a virtual machine, or of a laptop with other work, change speed for a tenth of a second
at a time, each on its own. Only what is timed right beside a reading tells how fast the core was
during it; and an idle core is worth a short wait, for a slow reading has to be taken again. The
memory beyond the near caches is shared with others too, and its speed changes as fast, whatever the
core does.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from latprof.devices.agent._host import Knobs
from latprof.devices.agent.runtimes._base import Prepared

__all__ = ["CORE_PROBE", "MEMORY_PROBE", "Probe", "Sentinel"]

_NAP_S = 0.001


@dataclass(frozen=True)
class Probe:
    """How a sentinel is timed.

    Args:
        seconds: of one timing.
        percentile: of its calls, which is the result.
        max_ratio: a timing this many times slower than the fastest so far is repeated,
        times: so many times in all; a load that lasts longer shows in all of them.
    """

    seconds: float
    percentile: int
    max_ratio: float
    times: int


#: A core that comes from other work needs some milliseconds to reach its full speed: on an Intel
#: server with AVX-512 it runs matrices 1.2 times slower for one to four.
CORE_PROBE = Probe(seconds=0.0004, percentile=20, max_ratio=1.08, times=8)
#: Memory is contended for a part of a call at a time.
MEMORY_PROBE = Probe(seconds=0.0015, percentile=50, max_ratio=1.15, times=2)


class Sentinel:
    """One fixed workload, timed for a moment.

    Args:
        prepared: the workload.
        knobs: of this process: they know which other cores are as good.
        how: one probe is made.
        resolution_s: of the clock.
        every_s: within this time after a probe, the next one gives the same.
    """

    def __init__(
        self,
        prepared: Prepared,
        knobs: Knobs,
        *,
        resolution_s: float,
        how: Probe = CORE_PROBE,
        every_s: float = 0.0,
    ) -> None:
        self._prepared, self._knobs = prepared, knobs
        self._resolution_s, self._every_s = resolution_s, every_s
        self._how = how
        self._last_s, self._last_at = 0.0, -math.inf
        self._fastest_s = 0.0
        #: Seconds spent on the last probe, and on the last wait.
        self.cost_s = self.waited_s = 0.0

    def probe(self) -> float:
        """Seconds that a call takes just now."""
        if time.perf_counter() - self._last_at >= self._every_s:
            self._last_s, self.cost_s = math.inf, 0.0
            for _ in range(self._how.times):
                timed = self._prepared.time(
                    measure_s=self._how.seconds, resolution_s=self._resolution_s
                )
                samples_s = sorted(timed.samples_s)
                seconds = samples_s[len(samples_s) * self._how.percentile // 100]
                self._last_s = min(self._last_s, seconds)
                self.cost_s += timed.cost_s
                if self._last_s <= self._how.max_ratio * self._fastest_s:
                    break
            self._fastest_s = min(self._last_s, self._fastest_s or math.inf)
            self._last_at = time.perf_counter()
        return self._last_s

    def wait_for_idle(self, idle_s: float, max_wait_s: float) -> float:
        """Wait at most ``max_wait_s`` for a core on which a call takes at most ``idle_s``; returns
        what it took in the end."""
        seconds = self.probe()
        start = now = time.perf_counter()
        while seconds > idle_s and now - start < max_wait_s:
            time.sleep(_NAP_S)
            self._knobs.move()
            seconds = self.probe()
            now = time.perf_counter()
        self.waited_s = now - start
        return seconds
