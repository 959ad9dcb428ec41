"""One sample of a search: fine-tuned from a level of the masks, exported, measured, judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
from torch import nn

from latprof.compress import Compressor, Judgment, save_shrunk
from latprof.compress.graph import copy_model
from latprof.pipeline.run import Training, load_small, recalibrated
from latprof.pipeline.search._floor import Floor
from latprof.pipeline.search._levels import Levels
from latprof.pipeline.search._objective import Objective
from latprof.pipeline.search._study import Claim
from latprof.vocabulary import SampleResult

__all__ = ["Sampling"]


@dataclass(frozen=True)
class Sampling:
    """How samples are taken in a run folder.

    Args:
        training: of the run.
        comp: whose masks have gone down.
        levels: their states on the way.
        objective, floor: what is wanted, and what is kept.
        held_out: data that samples are judged on.
        original_s: the original's latency, seconds.
    """

    training: Training
    comp: Compressor
    levels: Levels
    objective: Objective
    floor: Floor
    held_out: Any
    original_s: float

    def take(self, claim: Claim, on_stage: Callable[[str], None]) -> SampleResult:
        """Fine-tune, export, measure and judge; goes on from the sample's checkpoint.

        The network is left as ``samples/N.json`` and ``.safetensors``, its file beside them.
        """
        training, comp = self.training, self.comp
        on_stage(
            f"sample {claim.number}: {claim.progress:.1%} of the way to the lowest "
            f"{self.objective.name}"
        )
        self.levels.take(claim.progress)
        one_shot = self.judged(recalibrated(comp.shrink(), training.batches))
        with training.watch(comp, (claim.folder, claim.number - 1)) as watch:
            small = training.fine_tune(comp, watch, claim.folder).to("cpu").eval()
        file = training.deployment.export(small, self.name(claim.number))
        self.save(self.stem(claim.number), small, comp.counts())
        on_stage(f"sample {claim.number}: measuring and judging it")
        latency_s = self.original_s * self.shares([file])[0]
        judged = training.deployment.judge(small, file, self.held_out)
        return SampleResult(
            number=claim.number,
            progress=claim.progress,
            metric=judged.value,
            standard_error=judged.standard_error,
            one_shot=one_shot,
            objective=self.objective(small, file, latency_s, comp, comp.counts()),
            latency_s=latency_s,
            passes=self.floor.passes(judged),
        )

    def shares(self, files: list[Path]) -> list[float]:
        """Latency of each file over the original's, in turns; one process measures at a time."""
        folder = self.training.folder
        deployment = self.training.deployment
        with filelock.FileLock(folder / "device.lock"):
            return deployment.ratios(folder / f"original{deployment.suffix}", *files)

    def judge_again(self, number: int) -> Judgment:
        """A finished sample, judged from its files."""
        small, _ = self.load(number)
        file = self.stem(number).with_suffix(self.training.deployment.suffix)
        return self.training.deployment.judge(small, file, self.held_out)

    def load(self, number: int) -> tuple[nn.Module, list[int]]:
        """A finished sample's network, and its unit counts."""
        return load_small(self.training.model, self.stem(number))

    def save(self, stem: Path, small: nn.Module, counts: list[int]) -> None:
        """A network of the run as its recipe and weights."""
        training = self.training
        save_shrunk(stem, training.model, small, **training.built, counts=counts)

    def name(self, number: int) -> str:
        """Of a sample among the networks of the run."""
        return f"samples/{number}"

    def stem(self, number: int) -> Path:
        """Of a sample's files."""
        return self.training.folder / self.name(number)

    def judged(self, small: nn.Module) -> float | None:
        """The metric of a network that is not fine-tuned; None of int8 ones, which are files."""
        deployment = self.training.deployment
        if deployment.int8 is not None:
            return None
        return deployment.judge(copy_model(small), Path(), self.held_out).value
