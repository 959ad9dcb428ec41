"""How long a run still takes, over both of its phases and what is measured after them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

__all__ = ["TimeLeft"]


class TimeLeft:
    """Progress over a whole run, from the speed of its steps so far.

    A phase that has not begun is taken to be as fast as the one before it.

    Args:
        steps: of each phase by name, in their order.
        clock: seconds.

    Example:
        >>> seconds = iter([0.0, 10.0])
        >>> left = TimeLeft({"masks": 10, "fine_tune": 10}, clock=lambda: next(seconds))
        >>> left.see("masks", 1)
        (0.05, None)
        >>> left.see("masks", 6)  # five steps took 10 s
        (0.3, 28.0)
    """

    def __init__(
        self, steps: Mapping[str, int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._steps, self._clock = dict(steps), clock
        self._phase, self._first, self._began_s = "", 0, 0.0
        self._step_s: float | None = None
        self._last_measuring_s = 0.0

    def later(self, steps: int) -> TimeLeft:
        """The same run seen from a training whose steps come after so many of its phase."""
        return _Later(self, steps)

    def measured(self, seconds: float, times: float) -> None:
        """A measurement took ``seconds``; after training it is to be done ``times`` times."""
        self._last_measuring_s = seconds * times

    def see(self, phase: str, step: int) -> tuple[float, float | None]:
        """(share of all steps done, seconds left or None) when ``step`` of ``phase`` ends."""
        now = self._clock()
        if phase != self._phase:  # a run that goes on begins with a later step
            self._phase, self._first, self._began_s = phase, step, now
        elif step > self._first:
            self._step_s = (now - self._began_s) / (step - self._first)
        names = list(self._steps)
        before = sum(self._steps[name] for name in names[: names.index(phase)])
        total = sum(self._steps.values())
        share = (before + step) / total
        if self._step_s is None:
            return share, None
        return share, (total - before - step) * self._step_s + self._last_measuring_s


class _Later(TimeLeft):
    """A part of a phase."""

    def __init__(self, whole: TimeLeft, before: int) -> None:
        self._whole, self._before = whole, before

    def measured(self, seconds: float, times: float) -> None:
        self._whole.measured(seconds, times)

    def see(self, phase: str, step: int) -> tuple[float, float | None]:
        return self._whole.see(phase, self._before + step)
