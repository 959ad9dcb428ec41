"""Short mask trainings whose masks are recorded: the same seeds give the same masks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from support.compressor import EXAMPLE, network, run
from torch import Tensor, nn

from latprof import Compressor, Prune
from latprof.compress import Depth, LowRank, Quantize, Sparse

__all__ = ["RUNS", "masks_after"]

STEPS = 30


class Branch(nn.Module):
    """Its input plus what two convolutions make of it."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(16, 32, 1), nn.Conv2d(32, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.leave(torch.relu(self.enter(x)))
        return out


class Residuals(nn.Module):
    """A stem, two residual blocks, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, 2, 1)
        self.first, self.second = Branch(), Branch()
        self.hidden, self.head = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(torch.relu(self.stem(x)))).mean((2, 3))
        out: Tensor = self.head(torch.relu(self.hidden(x)))
        return out


def _prune() -> Compressor:
    return Compressor(network(), EXAMPLE, None, "macs=60%", steps=STEPS)


def _prune_low_rank_depth() -> Compressor:
    torch.manual_seed(2)
    blocks = (Prune(init="uniform"), LowRank(divisor=1), Depth())
    budgets = ["macs=30%", "params=45%"]
    return Compressor(Residuals(), EXAMPLE, None, budgets, blocks=blocks, steps=STEPS)


def _sparse_quantize() -> Compressor:
    blocks = (
        Sparse(layers=("expand.0", "squeeze", "excite"), count="hoyer_square"),
        Quantize(bits=(2, 4, 8), layers=("stem.0", "head", "excite"), grid="even"),
    )
    return Compressor(network(), EXAMPLE, None, "bytes=60%", blocks=blocks, steps=STEPS)


RUNS: dict[str, Callable[[], Compressor]] = {
    "prune": _prune,
    "prune, low rank and depth": _prune_low_rank_depth,
    "sparse and quantize": _sparse_quantize,
}


def masks_after(name: str) -> tuple[list[int], str, str]:
    """Units left, and digests of the masks two thirds on the way and at the end."""
    torch.set_num_threads(1)
    comp = RUNS[name]()
    torch.manual_seed(3)
    run(comp, 20, torch.optim.AdamW, 1e-2)
    midway = _digest(comp)
    run(comp, 20, torch.optim.AdamW, 1e-2)
    assert comp.fixed
    return comp.counts(), midway, _digest(comp)


def _digest(comp: Compressor) -> str:
    """Of the masks, bit for bit."""
    body = comp.alpha.detach().contiguous().numpy().tobytes()
    return hashlib.sha256(body).hexdigest()[:16]
