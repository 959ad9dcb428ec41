"""The best network that keeps its accuracy, in a run folder; resumable, by several processes."""

from __future__ import annotations

from dataclasses import replace

from latprof.pipeline.run import (
    Compression,
    Deployment,
    Job,
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
from latprof.pipeline.search._held_out import halves, hold_out
from latprof.pipeline.search._levels import Levels
from latprof.pipeline.search._objective import Objective
from latprof.pipeline.search._sample import Sampling
from latprof.pipeline.search._study import Samples
from latprof.pipeline.search.samplers import Observed, make_sampler
from latprof.surrogate import Surrogate
from latprof.vocabulary import RunResult, SampleResult, SearchResult, load_json

__all__ = ["search"]


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
        self.objective = Objective.of(self.settings, job.config.folder)
        self.training = Training(
            deployment,
            job.model,
            self.settings,
            job.batches,
            watcher,
            source=job.source,
            fine_tunings=self.settings.search.samples,
        )
        self.deployment = self.training.deployment

    def prepare(self, surrogate: Surrogate) -> Sampling:
        """The masks at each level, and the floor."""
        fingerprint = run_fingerprint(
            self.deployment, self.job.model, self.settings, self.job.asked()
        )
        require_same_run(self.folder, fingerprint)
        comp = self.training.compressor(surrogate, measures=False)
        claim(self.folder, fingerprint)
        self.watcher.on_start()
        levels = Levels(self.folder / "levels", comp)
        with self.training.watch(comp) as watch:
            self.training.masks(comp, watch, levels.see)
        original = self.folder / f"original{self.deployment.suffix}"
        self.watcher.on_stage("judging the original on held-out data")
        judged = self.deployment.judge(self.job.model, original, self.job.held_out)
        floor = Floor.of(self.settings.keep, judged, self.deployment.task)
        timed = load_json(self.folder / "original.json", "time of the original", 1)
        return Sampling(
            self.training,
            comp,
            levels,
            self.objective,
            floor,
            self.job.held_out,
            float(timed["latency_s"]),
        )

    def sample(self, sampling: Sampling) -> Samples:
        """Take samples until there are as many as asked for."""
        asked, floor = self.settings.search, sampling.floor
        error, objective = floor.original.standard_error, self._original(sampling)
        original = Observed(0.0, floor.excess(floor.original), error, objective)
        samples = Samples(
            self.folder,
            make_sampler(asked.by, asked.samples, self.settings.seed),
            original,
            maximized=self.objective.maximized,
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
        choice = choose(sampling, finished, self.watcher.on_stage)
        outcome = self._outcome(sampling, finished, choice)
        small, counts = sampling.load(choice.number)
        sampling.levels.take(outcome.sample(choice.number).progress)
        comp = sampling.comp
        sampling.save(self.folder / "compressed", small, counts)
        others = {sampling.name(s.number): sampling.load(s.number) for s in finished}
        networks = {
            "original": (self.job.model, comp.space.sizes),
            "compressed": (small, counts),
        }
        return conclude(
            self.deployment,
            networks,
            Compression(comp, small, others, self.deployment),
            self.job.test,
            self.watcher.on_stage,
            search=outcome,
        )

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
        return SearchResult(
            keep=self.settings.keep,
            objective=self.objective.name,
            maximized=self.objective.maximized,
            original=sampling.floor.original.value,
            original_objective=self._original(sampling),
            floor=sampling.floor.value,
            samples=finished,
            chosen=choice.number,
            kept=choice.kept,
            note=choice.note,
        )

    def _original(self, sampling: Sampling) -> float:
        """The original's objective."""
        file = self.folder / f"original{self.deployment.suffix}"
        comp, latency_s = sampling.comp, sampling.original_s
        return self.objective(self.job.model, file, latency_s, comp, comp.space.sizes)


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
