"""What every method has: its settings, and what it holds while a network is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latprof.compress.cost import Goals
from latprof.compress.masks import UnitMasks, Weights, broadcast
from latprof.compress.methods._projection import Projection
from latprof.compress.space import Block, Space

__all__ = ["MaskedSelection", "Method", "Parts", "Selection"]


@dataclass(frozen=True)
class Parts:
    """What a Compressor gives its method. It is the same objects that the Compressor holds.

    Args:
        model: the user's.
        space: groups of units that may go.
        of_group: per group, the block that it comes from, (G,).
        goals: the budgets.
        weights: from the model's parameters and scales to what it computes with.
        projection: onto the budgets.
        steps: length of the phase in which units are chosen, in optimizer steps.
    """

    model: nn.Module
    space: Space
    of_group: tuple[Block, ...]
    goals: Goals
    weights: Weights
    projection: Projection
    steps: int


class Method(ABC):
    """How units are chosen: an object of settings, a frozen dataclass.

    Laws, each tested of every method with every block that it does not refuse:

    - before the first step the network computes exactly what the model computes;
    - after the end every budget holds at true counts, and the masked network, the shrunk one and
      its exported file compute the same;
    - a state dict resumes bit for bit, and several processes stay alike;
    - it runs under autocast and in one graph of ``torch.compile``.
    """

    def refusal(self, block: Block) -> str:
        """Why it cannot do this block; empty where it can."""
        return ""

    @property
    def needs_budget(self) -> bool:
        """Whether it chooses nothing without a budget."""
        return True

    @abstractmethod
    def start(self, parts: Parts) -> Selection:
        """What chooses the units of one network."""


class Selection(nn.Module, ABC):
    """What a method holds of one network; all that changes is in its state dict.

    Attributes:
        alpha: what is trained beside the weights. The user's optimizer may see it; ``step`` undoes
            what that did, unless the method says otherwise.
    """

    alpha: nn.Parameter

    @abstractmethod
    def scales(self) -> list[Tensor]:
        """Per group, what multiplies each unit where it is read, (size,); 0 is removed."""

    @abstractmethod
    def penalty(self) -> Tensor:
        """What is added to the loss, ()."""

    @abstractmethod
    def step(self, grad: Tensor | None, number: int) -> bool:
        """After the optimizer's step; returns whether the phase ends early.

        Args:
            grad: of ``alpha``, finite; None where this step does not count.
            number: steps that count until now, this one included.
        """

    @abstractmethod
    def choose(self, progress: float, margin: float, *, final: bool = False) -> None:
        """Choose units that meet the budgets.

        Args:
            progress: share of the way from the original to the budgets.
            margin: multiplies the targets.
            final: it is the end: whole bit widths, for example.
        """

    @abstractmethod
    def chosen(self) -> list[Tensor]:
        """The tensors that ``choose`` writes; they are put back to undo it."""

    def counts(self) -> list[int]:
        """Units left, per group, (G,)."""
        return [int((scale != 0).sum()) for scale in self.scales()]

    def true_counts(self) -> Tensor:
        """The same as a tensor on the CPU, where costs are, (G,)."""
        return torch.tensor(self.counts(), dtype=torch.float32)

    def end(self) -> None:
        """The choice is final: nothing is penalized any more."""

    def harden(self) -> None:
        """Scales have been multiplied into the weights: those that are not 0 become 1."""

    def rate(self) -> float:
        """What the learning rate of the user's loop is to be multiplied by now."""
        return 1.0

    def penalty_weight(self) -> float:
        """Lambda, for logs; 0 where the method has none."""
        return 0.0


class MaskedSelection(Selection):
    """A selection by one mask per unit; the base of all but one.

    Args:
        masks: of the network of ``parts``.
    """

    def __init__(self, parts: Parts, masks: UnitMasks) -> None:
        super().__init__()
        self.parts = parts
        self.masks = masks

    @property
    def alpha(self) -> nn.Parameter:  # type: ignore[override]  # the masks hold it
        """All masks end to end, (N,)."""
        return self.masks.alpha

    def scales(self) -> list[Tensor]:
        return self.masks.scales()

    def counts(self) -> list[int]:
        return self.masks.counts()

    def penalty(self) -> Tensor:
        return self.alpha.new_zeros(())

    def chosen(self) -> list[Tensor]:
        return [self.alpha, *self.parts.weights.orders()]

    def end(self) -> None:
        self.masks.commit()

    def harden(self) -> None:
        self.masks.harden()

    def choose(self, progress: float, margin: float, *, final: bool = False) -> None:
        self.project(self.importances(), progress, margin)
        if final:
            self.parts.projection.harden(self.masks)

    @abstractmethod
    def importances(self) -> list[Tensor]:
        """Per group, what each unit is worth, (size,), at least 0."""

    def project(
        self,
        importances: Sequence[Tensor],
        progress: float,
        margin: float,
        *,
        revived: float | None = None,
    ) -> None:
        """Zero the masks of the least important units until the true counts cost what they may.

        Args:
            revived: share of its start at which a zero returns; by default half, or a tenth.
        """
        parts = self.parts
        parts.projection(self.masks, importances, progress, margin, revived=revived)
        for tensor in self.chosen():  # processes on different machines may round differently
            broadcast(tensor)
        parts.weights.refit(parts.model, self.scales())
        parts.projection.warn(self.counts())
