"""How long a run may wait for an idle device."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_WAIT_SHARE", "WaitBudget"]

#: All waiting of a run, over the time that it spends measuring.
MAX_WAIT_SHARE = 0.15


@dataclass
class WaitBudget:
    """Seconds that may be waited for an idle device: a share of those spent measuring so far.

    So a run never takes more than ``1 + share`` times as long as it would without any waiting,
    however long the background load lasts.
    """

    share: float = MAX_WAIT_SHARE
    measured_s: float = 0.0
    waited_s: float = 0.0

    @property
    def left_s(self) -> float:
        return max(0.0, self.share * self.measured_s - self.waited_s)

    def add(self, *, measured_s: float = 0.0, waited_s: float = 0.0) -> None:
        """Take in what was spent."""
        self.measured_s += max(0.0, measured_s)
        self.waited_s += waited_s
