"""What a search makes as low, or as high, as it can."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import nn

from latprof.compress import Compressor
from latprof.errors import ModelLoadError, UsageError
from latprof.pipeline.run import OBJECTIVES, OneObjective, Settings
from latprof.vocabulary import load_callable

__all__ = ["Objective"]


@dataclass(frozen=True)
class Objective:
    """One figure of a network.

    Args:
        name: one of OBJECTIVES, or of the user's function.
        maximized: it is better the larger it is.
        function: (network, file) -> number; None: by name.
    """

    name: str
    maximized: bool
    function: Callable[[nn.Module, Path], float] | None = None

    @classmethod
    def all_of(cls, settings: Settings, folder: Path) -> tuple[Self, ...]:
        """As the settings have them.

        Args:
            folder: where files and modules are looked for first.

        Raises:
            UsageError: one does not import.
        """
        return tuple(cls._of(given, settings, folder) for given in settings.objectives)

    @classmethod
    def _of(cls, given: OneObjective, settings: Settings, folder: Path) -> Self:
        if isinstance(given, str) and given in OBJECTIVES:
            return cls(given, given == "throughput")
        if not isinstance(given, str):
            name = str(getattr(given, "__qualname__", type(given).__qualname__))
            return cls(name, settings.search.maximize, given)
        try:
            return cls(given, settings.search.maximize, load_callable(given, folder))
        except ModelLoadError as exc:
            raise UsageError(f"objective {exc}") from exc

    @property
    def is_timed(self) -> bool:
        """Whether it follows from the latency."""
        return self.function is None and self.name in ("latency", "throughput")

    def __call__(
        self,
        small: nn.Module,
        file: Path,
        latency_s: float,
        comp: Compressor,
        counts: Sequence[int],
    ) -> float:
        """The figure: seconds, inputs per second, bytes, parameters, MACs, or the user's.

        Args:
            small, file: the network, and what it was exported to.
            latency_s: measured.
            comp: what costs are known by.
            counts: units of the network.

        Raises:
            UsageError: the user's function fails, or returns no number.
        """
        if self.function is not None:
            return self._users(small, file)
        if self.name == "latency":
            return latency_s
        if self.name == "throughput":
            return comp.graph.inputs.rows / latency_s
        if self.name == "bytes":
            return float(file.stat().st_size)
        goal = comp.goals.of(self.name)
        assert goal is not None
        return goal.cost.exact(counts, comp.goals.paying(counts))

    def best(self, values: Mapping[int, float]) -> list[int]:
        """The keys of the values, from the best."""
        return sorted(values, key=lambda key: values[key], reverse=self.maximized)

    def _users(self, small: nn.Module, file: Path) -> float:
        assert self.function is not None
        try:
            return float(self.function(small, file))
        except Exception as exc:
            raise UsageError(
                f"objective {self.name} fails: {type(exc).__name__}: {exc}; expected "
                "(network, file) -> number"
            ) from exc
