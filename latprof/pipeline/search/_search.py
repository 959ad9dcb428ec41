"""The best network that keeps its accuracy, in a run folder; resumable, by several processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from latprof.compress import Compressor
from latprof.compress.cost import Budget
from latprof.pipeline.run import (
    Compression,
    Deployment,
    Job,
    Levels,
    Settings,
    Training,
    Watcher,
    claim,
    conclude,
    locked,
    require_same_run,
    run_fingerprint,
)
from latprof.pipeline.search._choose import Choice, choose
from latprof.pipeline.search._floor import Floor
from latprof.pipeline.search._front import write_front
from latprof.pipeline.search._held_out import halves, hold_out
from latprof.pipeline.search._objective import Objective
from latprof.pipeline.search._phases import Phase, Phases
from latprof.pipeline.search._sample import WAY, Sampling
from latprof.pipeline.search._shared import Choices
from latprof.pipeline.search._study import Samples
from latprof.pipeline.search.samplers import Observed, make_sampler
from latprof.surrogate import Surrogate
from latprof.vocabulary import (
    ObjectiveResult,
    RunResult,
    SampleResult,
    SearchResult,
    load_json,
)

__all__ = ["search"]

#: Levels between the original and the lowest that the masks reach.
_LEVELS = 12


def search(
    job: Job, deployment: Deployment, surrogate: Surrogate, watcher: Watcher | None = None
) -> RunResult:
    """Search what ``keep`` asks for, and write ``result.json``.

    One mask phase passes every level on its way down. Each sample is fine-tuned from one of them,
    exported, measured and judged on held-out data. Several processes may call it for one folder:
    one of them trains the masks, and then each takes samples that no other takes.

    Args:
        job: what is asked for, with its data.
        deployment: in the folder of the run, its device open.
        surrogate: of the device.
        watcher: follows the run; see Watcher.

    Raises:
        UsageError: the folder holds a run of other settings, weights, data or target.
        InfeasibleBudgetError: before any training.
    """
    parts = _divided(job)
    run = _Search(parts, deployment, watcher or Watcher())
    with locked(deployment.folder, waits=True):
        sampling = run.prepare(surrogate)
    samples = run.sample(sampling)
    with locked(deployment.folder, waits=True):
        return run.conclude(sampling, samples)


class _Search:
    """One call of ``search``."""

    def __init__(self, job: Job, deployment: Deployment, watcher: Watcher) -> None:
        self.job, self.watcher = job, watcher
        self.settings, self.folder = job.config.settings, deployment.folder
        self.objectives = Objective.all_of(self.settings, job.config.folder)
        self.training = self._training(deployment, self.settings)
        self.deployment = self.training.deployment

    def prepare(self, surrogate: Surrogate) -> Sampling:
        """The masks at each level, where one phase serves all samples, and the floor."""
        fingerprint = run_fingerprint(
            self.deployment, self.job.model, self.settings, self.job.asked()
        )
        require_same_run(self.folder, fingerprint)
        comp = self.training.compressor(surrogate, measures=False)
        claim(self.folder, fingerprint)
        self.watcher.on_start()
        if not self.settings.search.space.retrains:
            self._lower(self.training, comp)
        original = self.folder / f"original{self.deployment.suffix}"
        self.watcher.on_stage("judging the original on held-out data")
        judged = self.deployment.judge(self.job.model, original, self.job.held_out)
        floor = Floor.of(self.settings.keep, judged, self.deployment.task)
        timed = load_json(self.folder / "original.json", "time of the original", 1)
        original_s = float(timed["latency_s"])

        def make(settings: Settings, folder: Path) -> Phase:
            if folder == self.folder:
                return Phase(self.training, comp, Levels(folder / "levels", comp, _LEVELS))
            self.watcher.on_stage(f"masks of {folder.name}")
            training = self._training(replace(self.deployment, folder=folder), settings)
            training.watcher = replace(self.watcher, trackers=None)  # scalars are of one training
            own = training.compressor(surrogate, original_s, measures=False)
            return Phase(training, own, self._lower(training, own))

        sampling = Sampling(
            self.training,
            Phases(self.folder, self.settings, make),
            self.objectives,
            floor,
            self.job.held_out,
            original_s,
        )
        self.originals = sampling.figures(
            self.job.model, original, original_s, comp, comp.space.sizes
        )
        return sampling

    def sample(self, sampling: Sampling) -> Samples:
        """Take samples until there are as many as asked for."""
        asked, floor = self.settings.search, sampling.floor
        error = floor.original.standard_error
        original = Observed(0.0, floor.excess(floor.original), error, self.originals[0])
        by = asked.searcher(len(self.objectives))
        samples = Samples(
            self.folder,
            make_sampler(by, asked.samples, self.settings.seed),
            original,
            maximized=sampling.maximized,
            space=parameters(self.settings),
        )
        while True:
            with samples.claim(asked.samples) as claimed:
                if claimed is None:
                    return samples
                found = sampling.take(claimed, samples.finished(), self.watcher.on_stage)
                sign = 1 if floor.higher_is_better else -1
                samples.record(claimed, found, sign * (found.metric - floor.value))

    def conclude(self, sampling: Sampling, samples: Samples) -> RunResult:
        """The choice, measured beside the original and all samples."""
        finished = samples.finished()
        if (known := self._concluded(finished)) is not None:
            return known
        choice = choose(sampling, finished, self.originals, self.watcher.on_stage)
        outcome = self._outcome(sampling, finished, choice)
        spaces = {
            sampling.name(s.number): sampling.phases.of(s.settings).comp.space for s in finished
        }
        small, counts = sampling.load(choice.number)
        comp = sampling.place(outcome.sample(choice.number)).comp
        sampling.save(self.folder / "compressed", small, counts)
        others = {sampling.name(s.number): sampling.load(s.number) for s in finished}
        networks = {
            "original": (self.job.model, comp.space.sizes),
            "compressed": (small, counts),
        }
        if outcome.objectives:
            write_front(self.folder, outcome, self.deployment.suffix)
        return conclude(
            self.deployment,
            networks,
            Compression(comp, small, others, self.training),
            self.job.test,
            self.watcher.on_stage,
            search=outcome,
            spaces=spaces,
        )

    def _training(self, deployment: Deployment, settings: Settings) -> Training:
        return Training(
            deployment,
            self.job.model,
            settings,
            self.job.batches,
            self.watcher,
            source=self.job.source,
            fine_tunings=settings.search.samples,
        )

    def _lower(self, training: Training, comp: Compressor) -> Levels:
        """Train the masks on their way down."""
        levels = Levels(training.folder / "levels", comp, _LEVELS)
        with training.watch(comp) as watch:
            training.masks(comp, watch, levels.see)
        return levels

    def _concluded(self, finished: tuple[SampleResult, ...]) -> RunResult | None:
        """What another process, or an earlier one, has made of these samples."""
        path = self.folder / "result.json"
        if not path.is_file():
            return None
        result = RunResult.load(path)
        same = result.search is not None and result.search.samples == finished
        return result if same else None

    def _outcome(
        self, sampling: Sampling, finished: tuple[SampleResult, ...], choice: Choice
    ) -> SearchResult:
        every = zip(self.objectives, self.originals, strict=True)
        several = len(self.objectives) > 1
        return SearchResult(
            keep=self.settings.keep,
            objective=self.objectives[0].name,
            maximized=self.objectives[0].maximized,
            original=sampling.floor.original.value,
            original_objective=self.originals[0],
            floor=sampling.floor.value,
            samples=finished,
            chosen=choice.number,
            kept=choice.kept,
            note=choice.note,
            objectives=tuple(ObjectiveResult(o.name, o.maximized, v) for o, v in every)
            if several
            else (),
            front=choice.front,
        )


def parameters(settings: Settings) -> dict[str, Choices]:
    """What is sampled beside the progress: the ways to further objectives, and the space."""
    kinds = [Budget.parse(text).kind for text in settings.budgets[1:]]
    found: dict[str, Choices] = {WAY + kind: (1e-3, 1.0) for kind in kinds}
    space = settings.search.space
    if space.lr:
        found["lr"] = (space.lr[0], space.lr[1])
    if space.mask_share:
        found["mask_share"] = list(space.mask_share)
    if space.divisor:
        found["divisor"] = list(space.divisor)
    if space.blocks:
        found["blocks"] = ["+".join(names) for names in space.blocks]
    return found


def _divided(job: Job) -> Job:
    """The job with what it judges on apart from what it trains with and what it reports."""
    settings = job.config.settings
    if job.held_out is not None:
        return job
    if settings.search.held_out:
        left, held = hold_out(job.batches, settings.search.held_out, settings.seed)
        return replace(job, batches=left, held_out=held)
    held, reported = halves(job.test, settings.seed)
    return replace(job, test=reported, held_out=held)
