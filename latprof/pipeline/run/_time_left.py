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
        self._samples_s: list[float] = []
        self._sample_began_s: float | None = None

    def sample(self, before: int, steps: int) -> TimeLeft:
        """The same run seen from one of the trainings that its last phase consists of. Once one is
        finished, what is left follows from whole ones, and what is measured in them.

        Args:
            before: steps of the phase that come before it.
            steps: its own.
        """
        return _Sample(self, before, steps)

    def measured(self, seconds: float, times: float) -> None:
        """A measurement took ``seconds``; after training it is to be done ``times`` times."""
        self._last_measuring_s = seconds * times

    def see(self, phase: str, step: int) -> tuple[float, float | None]:
        """(share of all steps done, seconds left or None) when ``step`` of ``phase`` ends."""
        now = self._clock()
        if phase != self._phase:
            self._begin(phase, step, now)
        elif step > self._first:
            self._step_s = (now - self._began_s) / (step - self._first)
        names = list(self._steps)
        before = sum(self._steps[name] for name in names[: names.index(phase)])
        total = sum(self._steps.values())
        share = (before + step) / total
        if self._step_s is None:
            return share, None
        return share, (total - before - step) * self._step_s + self._last_measuring_s

    def _begin(self, phase: str, step: int, now: float) -> None:
        """The speed of steps is that from this one on; a run that goes on begins with a later."""
        self._phase, self._first, self._began_s = phase, step, now


class _Sample(TimeLeft):
    """A part of the last phase."""

    def __init__(self, whole: TimeLeft, before: int, steps: int) -> None:
        self._whole, self._before, self._length = whole, before, steps
        self._first_s: float | None = None

    def measured(self, seconds: float, times: float) -> None:
        self._whole.measured(seconds, times)

    def see(self, phase: str, step: int) -> tuple[float, float | None]:
        whole, now = self._whole, self._whole._clock()
        if self._first_s is None:
            self._first_s = now
            if whole._sample_began_s is not None:  # the one before was seen from its first step
                whole._samples_s.append(now - whole._sample_began_s)
            whole._sample_began_s = now if step == 1 else None
            whole._begin(phase, self._before + step, now)
        share, left_s = whole.see(phase, self._before + step)
        if not whole._samples_s or left_s is None or whole._step_s is None:
            return share, left_s
        each_s = sum(whole._samples_s) / len(whole._samples_s)
        here_s = max(each_s - (now - self._first_s), (self._length - step) * whole._step_s)
        after = whole._steps[phase] - self._before - self._length
        return share, here_s + after / self._length * each_s + whole._last_measuring_s
