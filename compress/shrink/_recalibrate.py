"""Batch-norm statistics estimated anew, after widths or weights have changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from latprof.compress.graph import evaluating
from latprof.errors import UsageError

__all__ = ["recalibrate"]


class _Moments:
    """Sums over everything one layer is given, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.total = self.squares = torch.zeros((), dtype=torch.float64)

    def add(self, x: Tensor) -> None:
        flat = x.detach().transpose(0, 1).flatten(1).double()  # (C, B * ...)
        self.count += flat.shape[1]
        self.total = self.total.to(x.device) + flat.sum(1)
        self.squares = self.squares.to(x.device) + flat.square().sum(1)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and unbiased variance, (C,)."""
        mean = self.total / self.count
        spread = (self.squares - self.count * mean.square()).clamp_min(0)
        return mean, spread / max(1, self.count - 1)


def recalibrate(model: nn.Module, batches: Iterable[Any]) -> None:
    """Set every batch norm's running statistics to those of all of ``batches`` together.

    Each batch is normalized by its own statistics on the way, as in training; mean and variance
    are then of the whole population, also over batches of different sizes, where averaging the
    batches' variances would leave out how their means differ ("precise batch norm", Wu & Johnson,
    2021, arXiv:2105.07576). Everything else is in eval mode, and stays as it was.

    Args:
        model: any module, a Compressor too; nothing happens where it has no running statistics.
        batches: inputs, or (inputs, ...) of which the first are taken, or dicts of named inputs.

    Raises:
        UsageError: no batches.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    with torch.no_grad(), evaluating(model), _watched(norms) as moments:
        number = 0
        for number, batch in enumerate(batches, 1):  # noqa: B007
            if isinstance(batch, Mapping):
                model(**batch)
            else:
                model(batch[0] if isinstance(batch, (tuple, list)) else batch)
    if number == 0:
        raise UsageError("no batches to recalibrate with; expected at least one")
    for norm, seen in zip(norms, moments, strict=True):
        if seen.count == 0 or norm.running_mean is None or norm.running_var is None:
            continue  # a branch that this forward does not take
        mean, variance = seen.statistics()
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.fill_(number)


@contextmanager
def _watched(norms: list[_BatchNorm]) -> Iterator[list[_Moments]]:
    """Batch norms in training, adding up what they are given and updating nothing."""
    moments = [_Moments() for _ in norms]
    momenta = [norm.momentum for norm in norms]
    hooks = [
        norm.register_forward_pre_hook(lambda _, given, seen=seen: seen.add(given[0]))
        for norm, seen in zip(norms, moments, strict=True)
    ]
    try:
        for norm in norms:
            norm.training, norm.momentum = True, 0.0
        yield moments
    finally:
        for norm, momentum, hook in zip(norms, momenta, hooks, strict=True):
            norm.momentum = momentum
            hook.remove()
