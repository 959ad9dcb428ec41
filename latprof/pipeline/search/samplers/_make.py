"""The sampler that RUN.toml names."""

from __future__ import annotations

from optuna.samplers import BaseSampler

from latprof.pipeline.search.samplers._bracket import Bracket
from latprof.pipeline.search.samplers._dr_ucb import DrUcb
from latprof.pipeline.search.samplers._gp import GP

__all__ = ["make_sampler"]


def make_sampler(by: str, samples: int, seed: int) -> BaseSampler:
    """Of a name of ``[search] by``; see ``SearchSettings``."""
    if by == "dr-ucb":
        return DrUcb(samples)
    return GP(seed) if by == "gp" else Bracket()
