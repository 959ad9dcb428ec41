"""One learned threshold per layer (Azarian et al., arXiv:2003.00075, called LTP)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latprof.compress.masks import broadcast
from latprof.compress.methods._method import Method, Parts, Selection
from latprof.compress.methods._regularizer import Regularizer
from latprof.compress.methods._schedule import Schedule
from latprof.compress.space import Block, Option, Sparse
from latprof.errors import UsageError
from latprof.vocabulary import check_number

__all__ = ["Threshold"]

#: T_0 of eq. 15: temperature over the variance of a layer's magnitudes.
_TEMPERATURE = 1e-3
#: In variances of a layer's magnitudes, how far its threshold can go within the phase: beyond it
#: lie 3% of normally distributed weights.
_REACH = 16.0
#: Memory of the size of a threshold's gradient.
_MEMORY = 0.99
#: Halvings of the factor that brings all thresholds to the budget.
_HALVINGS = 60


@dataclass(frozen=True)
class Threshold(Method):
    """Weights below a layer's own threshold go; thresholds are trained with the weights.

        Compressor(model, example_inputs, None, "params=10%", blocks=[Sparse()],
                   method=Threshold())

    The network computes with v = w * sigm((w^2 - tau) / T), one tau per layer, or of tiles with
    their mean of w^2. Weights see the sigmoid as a constant (eq. 14). The count of a layer is the
    sum of its gates (eq. 6), so that a budget of ``params`` regularizes as eq. 9 does. T follows
    the layer's weights (eq. 15), and no step of tau is longer than T. At the end all thresholds
    are multiplied by one factor that meets the budget, and what is below is zeroed. What is held
    is a few bytes per layer, and for the choice at the end a byte per unit.

    Args:
        steered: lambda follows from how far the cost is from its target; else it is
            ``penalty_weight``.
        penalty_weight: lambda, of the cost as a share of the original's.
        temperature: T over the variance of a layer's magnitudes; 0: 1e-3 (the paper's), or more
            where the phase is too short for a threshold to pass a whole layer.
        constant_gate: weights see the gate as a constant; false: eq. 3, for comparison.
        regularizer: ``l0``, the sum of gates; for comparison ``l2`` or ``none``.

    Raises:
        UsageError: a value that cannot be, by its name.
    """

    steered: bool = True
    penalty_weight: float = 0.0
    temperature: float = 0.0
    constant_gate: bool = True
    regularizer: str = "l0"

    def __post_init__(self) -> None:
        check_number("penalty_weight", self.penalty_weight, least=0.0)
        check_number("temperature", self.temperature, least=0.0)
        if self.regularizer not in ("l0", "l2", "none"):
            raise UsageError(f"regularizer is {self.regularizer!r}; expected l0, l2 or none")
        if self.steered and (self.penalty_weight or self.regularizer != "l0"):
            raise UsageError(
                "steered is true, which has a lambda of its own for l0; expected steered = false "
                "beside penalty_weight or another regularizer"
            )

    @property
    def needs_budget(self) -> bool:
        return self.steered

    def refusal(self, block: Block) -> str:
        if not isinstance(block, Sparse):
            return "a threshold is one of single weights or tiles; expected Sparse alone"
        if block.n_of_m:
            return f"{block.pattern} fixes how many stay, and leaves no threshold to learn"
        return ""

    def start(self, parts: Parts) -> ThresholdSelection:
        return ThresholdSelection(self, parts)


class ThresholdSelection(Selection):
    """What ``Threshold`` holds of one network.

    Attributes:
        alpha: tau of each layer, (L,), as a share of the variance that ``spread`` was at the start.
        last: the same before the user's optimizer moved it.
        spread: variance of each layer's magnitudes, (L,).
        size: running mean square of each tau's gradient, (L,).
        keep: of each unit, end to end, whether it is in the choice.
        begun, hard: whether gates multiply the weights, and whether the choice does.
    """

    last: Tensor
    spread: Tensor
    size: Tensor
    keep: Tensor
    begun: Tensor
    hard: Tensor

    def __init__(self, method: Threshold, parts: Parts) -> None:
        super().__init__()
        self.parts, self.method = parts, method
        self._schedule = Schedule(parts.steps, 0.0)
        self._options: tuple[Option, ...] = parts.space.sparse
        self._sizes = [option.group.size for option in self._options]
        layers = len(self._options)
        self.temperature = method.temperature or max(_TEMPERATURE, _REACH / parts.steps)
        self.alpha = nn.Parameter(torch.zeros(layers))
        self.regularizer = Regularizer(layers)
        self.register_buffer("last", torch.zeros(layers))
        self.register_buffer("spread", torch.ones(layers))
        self.register_buffer("size", torch.zeros(layers))
        self.register_buffer("keep", torch.ones(sum(self._sizes), dtype=torch.bool))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))
        self.register_buffer("hard", torch.zeros((), dtype=torch.bool))

    def scales(self) -> list[Tensor]:
        ones = [self.alpha.new_ones(g.size) for g in self.parts.space.groups]
        if torch.compiler.is_compiling():  # one graph for all times
            gates = self._gates(self.alpha)
            keeps = torch.split(self.keep, self._sizes)
            each = [
                torch.where(self.hard, keep.to(gate.dtype), torch.where(self.begun, gate, 1.0))
                for keep, gate in zip(keeps, gates, strict=True)
            ]
        elif self.hard:
            each = [keep.to(self.alpha.dtype) for keep in torch.split(self.keep, self._sizes)]
        elif self.begun:
            each = self._gates(self.alpha)
        else:  # all at 1, with a gradient that is 0
            each = [one + 0.0 * self.alpha.sum() for one in self._of_layers(ones)]
        for option, scale in zip(self._options, each, strict=True):
            ones[option.group.index] = scale
        return ones

    def counts(self) -> list[int]:
        keeps = (
            torch.split(self.keep, self._sizes) if self.hard else self._above(self.alpha.detach())
        )
        counts = list(self.parts.space.sizes)
        for option, keep in zip(self._options, keeps, strict=True):
            counts[option.group.index] = int(keep.sum())
        return counts

    def soft_counts(self, alpha: Tensor) -> Tensor:
        """Counts (G,) of thresholds (L,): the sums of their gates, eq. 6."""
        counts = list(torch.tensor(self.parts.space.sizes, dtype=torch.float32).unbind())
        for option, gate in zip(self._options, self._gates(alpha, for_weights=False), strict=True):
            counts[option.group.index] = gate.sum()
        return torch.stack([count.to(alpha.device) for count in counts])

    def penalty(self) -> Tensor:
        if not self.begun or self.method.regularizer == "none":
            return self.alpha.new_zeros(())
        if self.method.regularizer == "l2":
            squares = [self._weight(o).square().sum() for o in self._options]
            return self.method.penalty_weight * torch.stack(squares).sum()
        value: Tensor = self.regularizer(self, self.parts.goals)
        return value

    def penalty_weight(self) -> float:
        return self.regularizer.penalty_weight

    def step(self, grad: Tensor | None, number: int) -> bool:
        self.alpha.copy_(self.last)
        if grad is None:
            return False
        task_gradient = grad - self.regularizer.gradient()
        if number == 1:
            self._begin()
        else:
            self._move(grad, number - 1)
            self._weigh(task_gradient, number)
        self.last.copy_(self.alpha)
        return False

    def choose(self, progress: float, margin: float, *, final: bool = False) -> None:
        """One factor for all thresholds, the smallest that meets the budgets. Where thresholds have
        learned nothing, all begin from the variance of their layer."""
        learned = self.alpha.detach()
        if not bool((learned > 0).any()):
            learned = torch.ones_like(learned)
        learned = learned.clamp_min(1e-6)
        low, high = 0.0, 1.0
        if self._ratio(learned, progress, margin) > 1:
            while self._ratio(learned * high, progress, margin) > 1 and high < 1e12:
                low, high = high, 2 * high
        elif not self.parts.goals.any:
            low = high  # zeros are the result
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._ratio(learned * middle, progress, margin) > 1:
                low = middle
            else:
                high = middle
        self.keep.copy_(torch.cat(self._above(learned * high)))
        broadcast(self.keep)
        self.hard.fill_(True)
        self.parts.projection.warn(self.counts())

    def chosen(self) -> list[Tensor]:
        return [self.keep, self.hard]

    def end(self) -> None:
        self.last.copy_(self.alpha)
        self.regularizer.weight.zero_()

    def _begin(self) -> None:
        for place, option in enumerate(self._options):
            self.spread[place] = self._squares(option).sqrt().var().clamp_min(1e-30)
        self.begun.fill_(True)
        self.regularizer.expire()

    def _move(self, grad: Tensor, number: int) -> None:
        """One step of the thresholds: against the gradient, by T where it is as large as usual, and
        never by more."""
        self.size.lerp_(grad.square(), 1 - _MEMORY)
        usual = (self.size / (1 - _MEMORY**number)).sqrt().clamp_min(1e-30)
        self.alpha.sub_(self.temperature * (grad / usual).clamp(-1.0, 1.0)).clamp_min_(0.0)

    def _weigh(self, task_gradient: Tensor, number: int) -> None:
        """Lambda for the next step."""
        schedule, due = self._schedule, self._schedule.steers(number)
        if not self.method.steered:
            self.regularizer.fix(self.method.penalty_weight * (self.method.regularizer == "l0"))
        elif self.regularizer.penalty_weight == 0 or due:
            self.regularizer.steer(
                self.true_counts(),
                self.parts.goals,
                task_gradient,
                schedule.progress(number),
                schedule.steerings,
            )
        if due:
            self.regularizer.expire()

    def _gates(self, alpha: Tensor, *, for_weights: bool = True) -> list[Tensor]:
        """Per layer the gate of each unit, (size,)."""
        constant = self.method.constant_gate or not for_weights
        return [
            torch.sigmoid(
                (self._squares(option, constant=constant) / self.spread[place] - alpha[place])
                / self.temperature
            )
            for place, option in enumerate(self._options)
        ]

    def _above(self, alpha: Tensor) -> list[Tensor]:
        """Per layer whether each unit lies above its threshold, (size,) bool; one does always."""
        found = []
        for place, option in enumerate(self._options):
            squares = self._squares(option) / self.spread[place]
            found.append(squares > alpha[place].minimum(squares.max() * (1 - 1e-6)))
        return found

    def _ratio(self, alpha: Tensor, progress: float, margin: float) -> float:
        counts = list(self.parts.space.sizes)
        for option, above in zip(self._options, self._above(alpha), strict=True):
            counts[option.group.index] = int(above.sum())
        row = torch.tensor(counts, dtype=torch.float32)
        return float(self.parts.goals.ratio(row, progress, margin))

    def _squares(self, option: Option, *, constant: bool = True) -> Tensor:
        """Of each unit of a layer the mean square of its weights, (size,)."""
        weight = self._weight(option)
        if constant:
            weight = weight.detach()
        if option.tile == (1, 1):
            return weight.float().flatten().square()
        return option.units(weight.float()).square().mean(1)

    def _weight(self, option: Option) -> Tensor:
        return self.parts.model.get_parameter(option.layer.weight)

    def _of_layers(self, each: list[Tensor]) -> list[Tensor]:
        return [each[option.group.index] for option in self._options]
