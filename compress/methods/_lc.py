"""L-C: learning and compressing in turns (Carreira-Perpinan & Idelbayev, 2018; Joseph et al.)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latprof.compress.masks import MaskRules, UnitMasks, from_first
from latprof.compress.methods._method import MaskedSelection, Method, Parts
from latprof.compress.methods._scores import energies
from latprof.compress.methods._shrunk import shrunk
from latprof.compress.space import Block, Depth, LowRank
from latprof.errors import UsageError
from latprof.vocabulary import check_number

__all__ = ["LC"]


@dataclass(frozen=True)
class LC(Method):
    """The augmented Lagrangian between the weights w and compressed ones theta.

        Compressor(model, example_inputs, None, "params=10%", blocks=[Sparse()], method=LC())

    L-steps train w with mu/2 ||w - theta - multipliers/mu||^2 beside the loss; the network computes
    with w. C-steps make theta the nearest compressed weights to w - multipliers/mu: the projection
    onto the budgets with squared norms as importance. Then multipliers -= mu (w - theta), and mu
    grows. At the end w is compressed as theta is.

    The learning rate should fall within each L-step; multiply the loop's by ``Compressor.rate()``.
    ``latprof compress`` does.

    Args:
        iterations: C-steps in the phase.
        mu, growth: mu of the j-th is mu * growth^j.
        final_rate: learning rate at the end of an L-step as a share of its start; geometric.
        validate: figure of a compressed network, the higher the better; the network of the best
            C-step, by it, is the result. Without it the last is.

    Raises:
        UsageError: a value that cannot be, by its name.
    """

    iterations: int = 30
    mu: float = 1e-3
    growth: float = 1.1
    final_rate: float = 0.01
    validate: Callable[[nn.Module], float] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.iterations, bool) or not isinstance(self.iterations, int):
            raise UsageError(f"iterations is {self.iterations!r}; expected a whole number")
        check_number("iterations", self.iterations, least=1)
        check_number("mu", self.mu, above=0.0)
        check_number("growth", self.growth, least=1.0)
        check_number("final_rate", self.final_rate, above=0.0, most=1.0)

    def refusal(self, block: Block) -> str:
        if isinstance(block, LowRank):
            return "factors are trained in the weight's place, and L-C compares weights; use Masks"
        if isinstance(block, Depth):
            return "a dropped block is no weight near the block's own; use Masks or Gradual"
        return ""

    def start(self, parts: Parts) -> LCSelection:
        return LCSelection(self, parts)


class LCSelection(MaskedSelection):
    """What ``LC`` holds of one network.

    Attributes:
        theta, multipliers: per weight that is compressed, as it is.
        done, place: C-steps so far, and steps since the last.
        best, best_at, best_weights: the highest figure of a C-step, its number from 1, and
            w - multipliers/mu of it.
    """

    done: Tensor
    place: Tensor
    best: Tensor
    best_at: Tensor

    def __init__(self, method: LC, parts: Parts) -> None:
        super().__init__(parts, UnitMasks(parts.space, parts.of_group, MaskRules(init="one")))
        self._method = method
        self._length = max(1, parts.steps // method.iterations)
        with torch.no_grad():
            self._names = list(parts.weights(parts.model, self.scales()))
        weights = [p.detach() for p in self._weights()]
        self.theta = _Tensors(weights)
        self.multipliers = _Tensors([torch.zeros_like(w) for w in weights])
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self.register_buffer("best", torch.tensor(-math.inf))
        self.best_weights = _Tensors(weights if method.validate else [])
        self.register_buffer("best_at", torch.zeros((), dtype=torch.int64))

    def penalty(self) -> Tensor:
        """mu/2 ||w - theta - multipliers/mu||^2, from the first C-step on."""
        if not self.done:
            return self.alpha.new_zeros(())
        mu = self._mu()
        parts = [
            (weight - theta - multiplier / mu).square().sum()
            for weight, theta, multiplier in zip(
                self._weights(), self.theta.buffers(), self.multipliers.buffers(), strict=True
            )
        ]
        return mu / 2 * torch.stack(parts).sum()

    def step(self, grad: Tensor | None, number: int) -> bool:
        self.masks.restore()
        if grad is not None:
            self.place.fill_(number % self._length)
            if number == 1 or not self.place:
                self._compress()
        return False

    def rate(self) -> float:
        return float(self._method.final_rate ** (int(self.place) / self._length))

    def importances(self) -> list[Tensor]:
        """Squared norms of what stands in the weights' place, see ``_compress``."""
        return energies(self.parts)

    def choose(self, progress: float, margin: float, *, final: bool = False) -> None:
        if final and int(self.best_at):
            for weight, best in zip(self._weights(), self.best_weights.buffers(), strict=True):
                weight.copy_(best)
        self.project(self.importances(), progress, margin, revived=1.0)

    def _compress(self) -> None:
        """One C-step, and the multipliers that follow from it."""
        parts, shifted = self.parts, self._shifted()
        with self._placed(shifted):
            self.project(self.importances(), 1.0, 1.0, revived=1.0)
            changed = parts.weights(parts.model, self.scales())
            nearest = [changed[name].detach().clone() for name in self._names]
            if self._method.validate is not None:
                self._remember(self._method.validate)
        self.alpha.fill_(1.0)
        self.masks.commit()
        mu = self._mu() if self.done else 0.0  # at first they are 0
        for weight, theta, multiplier, found in zip(
            self._weights(),
            self.theta.buffers(),
            self.multipliers.buffers(),
            nearest,
            strict=True,
        ):
            theta.copy_(found)
            multiplier.sub_(mu * (weight - found))
        self.done += 1

    def _remember(self, validate: Callable[[nn.Module], float]) -> None:
        """Keep the weights where their compressed network is the best so far."""
        parts = self.parts
        small = shrunk(parts.model, parts.weights, parts.goals, self)
        figure = from_first(lambda: float(validate(small)))
        if figure >= float(self.best):
            self.best.fill_(figure)
            self.best_at.copy_(self.done + 1)
            for best, weight in zip(self.best_weights.buffers(), self._weights(), strict=True):
                best.copy_(weight)

    @contextmanager
    def _placed(self, values: list[Tensor]) -> Iterator[None]:
        """Within, the weights have these values."""
        weights = self._weights()
        before = [w.detach().clone() for w in weights]
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)
        try:
            yield
        finally:
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)

    def _weights(self) -> list[Tensor]:
        """The model's own that are compressed."""
        parameters = self.parts.weights.swap.parameters(self.parts.model)
        return [parameters[name] for name in self._names]

    def _shifted(self) -> list[Tensor]:
        """w - multipliers/mu."""
        mu = self._mu()
        return [
            weight.detach() - multiplier / mu
            for weight, multiplier in zip(self._weights(), self.multipliers.buffers(), strict=True)
        ]

    def _mu(self) -> float:
        """Of the L-step that is running."""
        return float(self._method.mu * self._method.growth ** max(0, int(self.done) - 1))


class _Tensors(nn.Module):
    """Copies of tensors, as buffers."""

    def __init__(self, tensors: list[Tensor]) -> None:
        super().__init__()
        for number, tensor in enumerate(tensors):
            self.register_buffer(str(number), tensor.detach().clone())
