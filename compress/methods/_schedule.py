"""When the mask phase warms up, steers lambda, projects the masks, and ends."""

from __future__ import annotations

from dataclasses import dataclass

from latprof.errors import UsageError

__all__ = ["WARM_UP", "Schedule"]

#: Share of the mask phase in which lambda is 0 and each unit's importance is learned, by default.
WARM_UP = 0.1
#: Share of what comes after it by which the budget is to be met; the rest is for the weights.
_RAMP = 0.8
#: Times in the mask phase that the masks are projected onto the cost allowed by then.
_PROJECTIONS = 30
#: Times that lambda is steered.
_STEERINGS = 300


@dataclass(frozen=True)
class Schedule:
    """What happens at which step of the mask phase; steps count from 1.

    Args:
        steps: length of the mask phase, in optimizer steps.
        warming: share of it in which lambda is 0 and each unit's importance is learned.

    Raises:
        UsageError: ``steps`` is not a whole number of at least 1.
    """

    steps: int
    warming: float = WARM_UP

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise UsageError(f"steps is {self.steps!r}; expected a whole number of at least 1")

    @property
    def warm_up(self) -> int:
        """The step at whose end the masks begin to move."""
        return max(1, round(self.warming * self.steps))

    @property
    def steering_interval(self) -> int:
        """Steps from one steering of lambda to the next."""
        return max(1, self._moving // _STEERINGS)

    @property
    def steerings(self) -> int:
        """Length of the phase, in steerings of lambda."""
        return self.steps // self.steering_interval

    def progress(self, step: int) -> float:
        """Share of the way from the original cost to the budget that is due at this step.

        Linear, as the paper anneals lambda; here it is the cost itself.
        """
        return min(1.0, (step - self.warm_up) / self._moving / _RAMP)

    def steers(self, step: int) -> bool:
        """Whether lambda is steered at this step."""
        return (step - self.warm_up) % self.steering_interval == 0

    def projects(self, step: int) -> bool:
        """Whether the masks are projected at this step."""
        return (step - self.warm_up) % max(1, self._moving // _PROJECTIONS) == 0

    @property
    def _moving(self) -> int:
        """Steps in which the masks move."""
        return self.steps - self.warm_up
