"""One sample of a search: fine-tuned from a level of the masks, exported, measured, judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock
from torch import nn

from latprof.compress import Compressor, Judgment, save_shrunk
from latprof.compress.graph import copy_model
from latprof.pipeline.run import Training, load_small, recalibrated
from latprof.pipeline.search._floor import Floor
from latprof.pipeline.search._objective import Objective
from latprof.pipeline.search._phases import Phase, Phases
from latprof.pipeline.search._study import Claim
from latprof.vocabulary import SampleResult, replace_file

__all__ = ["WAY", "Sampling"]

#: Begins the names of parameters that are shares of the way to further budgets.
WAY = "progress_"
#: A sample that would repeat another is moved by steps of this share of the way, so many at most.
_STEP, _STEPS = 0.005, 20


@dataclass(frozen=True)
class Sampling:
    """How samples are taken in a run folder.

    Args:
        training: of the run.
        phases: masks that have gone down.
        objectives, floor: what is wanted, and what is kept.
        held_out: data that samples are judged on.
        original_s: the original's latency, seconds.
    """

    training: Training
    phases: Phases
    objectives: tuple[Objective, ...]
    floor: Floor
    held_out: Any
    original_s: float

    @property
    def objective(self) -> Objective:
        """The first."""
        return self.objectives[0]

    @property
    def maximized(self) -> list[bool]:
        """For each objective, whether it is better the larger it is."""
        return [objective.maximized for objective in self.objectives]

    def take(
        self, claim: Claim, known: Sequence[SampleResult], on_stage: Callable[[str], None]
    ) -> SampleResult:
        """Fine-tune, export, measure and judge; goes on from the sample's checkpoint.

        The network is left as ``samples/N.json`` and ``.safetensors``, its file beside them.

        Args:
            known: finished samples: one of the same widths is not trained again.
        """
        phase = self.phases.of(claim.settings)
        training, comp = phase.training, phase.comp
        on_stage(
            f"sample {claim.number}: {claim.progress:.1%} of the way to the lowest "
            f"{self.objective.name}" + _others(claim)
        )
        progress, same = self._place(claim, phase, known, on_stage)
        if same is not None:
            return self._repeated(claim, same)
        one_shot = self.judged(recalibrated(comp.shrink(), training.batches))
        with training.watch(comp, (claim.folder, claim.number - 1)) as watch:
            small = training.fine_tune(comp, watch, claim.folder).to("cpu").eval()
        deployment = self.training.deployment
        file = deployment.export(small, self.name(claim.number))
        self.save(self.stem(claim.number), small, comp.counts())
        on_stage(f"sample {claim.number}: measuring and judging it")
        latency_s = self.original_s * self.shares([file])[0]
        judged = deployment.judge(small, file, self.held_out)
        figures = self.figures(small, file, latency_s, comp, comp.counts())
        return SampleResult(
            number=claim.number,
            progress=progress,
            metric=judged.value,
            standard_error=judged.standard_error,
            one_shot=one_shot,
            objective=figures[0],
            latency_s=latency_s,
            passes=self.floor.passes(judged),
            objectives=figures if len(figures) > 1 else (),
            settings=claim.settings,
        )

    def figures(
        self,
        small: nn.Module,
        file: Path,
        latency_s: float,
        comp: Compressor,
        counts: Sequence[int],
    ) -> tuple[float, ...]:
        """Of a network, each objective; see ``Objective``."""
        return tuple(each(small, file, latency_s, comp, counts) for each in self.objectives)

    def place(self, sample: SampleResult) -> Phase:
        """The phase of a finished sample, its Compressor brought to where that was taken."""
        phase = self.phases.of(sample.settings)
        phase.levels.take(_ways(phase, sample.progress, sample.settings))
        return phase

    def _place(
        self,
        claim: Claim,
        phase: Phase,
        known: Sequence[SampleResult],
        on_stage: Callable[[str], None],
    ) -> tuple[float, SampleResult | None]:
        """Where the sample is taken, the Compressor brought there; and the sample that it would
        only repeat.

        Where its widths are those of another sample it goes on in steps: deeper from one that
        passes, else less deep, until widths are new, or another sample's.
        """

        def widths_at(progress: float) -> tuple[int, ...]:
            phase.levels.take(_ways(phase, progress, claim.settings))
            return tuple(phase.comp.counts())

        if (moved := claim.moved) is not None:  # before a kill
            widths_at(moved)
            return moved, None
        alike = [s for s in known if _but_place(s.settings) == _but_place(claim.settings)]
        widths = {tuple(self.load(s.number)[1]): s for s in alike}
        first = widths.get(widths_at(claim.progress))
        if first is None:
            return claim.progress, None
        step = _STEP if first.passes else -_STEP
        for number in range(1, _STEPS + 1):
            progress = claim.progress + number * step
            if not 0 < progress <= 1:
                break
            found = widths.get(widths_at(progress))
            if found is None:
                on_stage(
                    f"sample {claim.number}: its widths would be those of sample {first.number}; "
                    f"moved to {progress:.1%}"
                )
                claim.move(progress)
                return progress, None
            if found is not first:
                break
        on_stage(
            f"sample {claim.number}: its widths are those of sample {first.number}, and there are "
            "no others near it; not trained again"
        )
        return claim.progress, first

    def _repeated(self, claim: Claim, same: SampleResult) -> SampleResult:
        """The sample of the same widths, with its files, under another number."""
        source, stem = self.stem(same.number), self.stem(claim.number)
        for file in source.parent.glob(f"{source.name}.*"):
            replace_file(
                stem.parent / f"{stem.name}{file.name[len(source.name) :]}", file.read_bytes()
            )
        return replace(same, number=claim.number, progress=claim.progress, settings=claim.settings)

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


def _ways(phase: Phase, progress: float, settings: Mapping[str, Any]) -> list[float]:
    """The share of the way to each budget."""
    kinds = [goal.budget.kind for goal in phase.comp.goals.each[1:]]
    return [progress, *(settings.get(WAY + kind, progress) for kind in kinds)]


def _but_place(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if not name.startswith(WAY)}


def _others(claim: Claim) -> str:
    """Its other parameters, for people."""
    texts = (
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in claim.settings.items()
    )
    return "".join(f", {text}" for text in texts)
