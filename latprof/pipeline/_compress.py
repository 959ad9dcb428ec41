"""``compress``: train a model to a budget, or search the best that keeps its accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from latprof.compress import Compressor, Latency
from latprof.compress.masks import from_first
from latprof.compress.train import check_trainable, model_inputs
from latprof.devices import Device, open_target
from latprof.errors import UsageError
from latprof.pipeline.explaining import with_advice
from latprof.pipeline.run import (
    Deployment,
    DeviceOfFirst,
    Job,
    Progress,
    RunFile,
    Settings,
    Watcher,
    compress_in,
    conclude,
    file_job,
    file_keys,
    is_first,
    is_one_of_several,
    join_processes,
    keep_blocks,
    locked,
    named_settings,
)
from latprof.pipeline.tokens import token_targets
from latprof.surrogate import Surrogate, fit
from latprof.vocabulary import RunResult, replace_file, require

__all__ = ["check_run", "compress", "run_config"]

#: Run folder of a model that Python gives, where none is named.
_OUT = "latprof-run"
#: Suffixes of exported files that are trained without their code.
_FILES = (".onnx", ".pt2")


def compress(
    run: str | Path | nn.Module,
    example_inputs: Any = None,
    train: Any = None,
    test: Any = None,
    *,
    trail: int | None = None,
    finish: str | Sequence[str] = (),
    trackers: Sequence[str] = (),
    on_progress: Progress = lambda row: None,
    on_stage: Callable[[str], None] = lambda text: None,
    **settings: Any,
) -> RunResult:
    """Train, shrink, export and measure; the same call goes on after a stop.

    A ``budget`` is met; or with ``keep`` the best ``objective`` that keeps its accuracy is
    searched, by several processes where several are started in one folder.

    What is asked for is in a RUN.toml; or it is a model with its data, and ``settings`` are the
    keys of a RUN.toml by the same names: ``table``, ``budget``, or ``keep``, ``objective`` and
    ``search``, ``out`` (``latprof-run``), ``blocks`` (a list, or a function of (layers, target)
    that returns one), ``method``, ``masks`` and ``fine_tune`` (TrainSettings), ``loss``,
    ``metric``, ``task``, ``batch``, ``device_settings`` and so on. Where a key names a function or
    a class, it may be that itself. Or it is an exported file, ``.onnx`` or ``.pt2``, with the same
    keys: it is trained to give the file's own outputs for ``inputs``, which have no labels (a
    folder of images, prepared as ``images`` says; ``.npz`` or ``.npy``; random numbers where none
    are given).

    Args:
        run: RUN.toml, a ``torch.nn.Module``, pre-trained, which is left as it is, or an exported
            file.
        example_inputs: of a Module: what its forward takes, at the batch size of deployment.
        train, test: of a Module: each a torch ``Dataset`` or ``DataLoader``; with ``keep``,
            ``held_out`` among the settings may be a third, which networks are judged on.
        trail: networks to save on the way to the budget; before the file's own number.
        finish: networks of the trail, ``trail/2``, that are fine-tuned, exported and measured too:
            each goes on from the masks and weights that it was saved with, after the run itself.
        trackers: beside those that the file names: ``tensorboard``, which writes into the run
            folder, ``wandb``, ``mlflow``; see ``latprof.integrations.Trackers``.
        on_progress: called at each training step with the figures so far.
        on_stage: called with what is done now.
        settings: of a RUN.toml: those of the device, before its own.

    Raises:
        MissingExtraError: a tracker's package is not installed; ``keep``, and not Optuna.
        UsageError: a name does not import, the table is of another target, the budget cannot be
            met, the folder is in use or holds another run; all before any training.

    Example:
        >>> result = latprof.compress("run.toml")  # doctest: +SKIP
        >>> result.compressed.file                 # doctest: +SKIP
        'runs/first/compressed.onnx'
        >>> latprof.compress(
        ...     model, example_inputs, train, test, table="pixel6.parquet", budget="5 ms"
        ... ).met  # doctest: +SKIP
        True
    """
    given: Mapping[str, Any] = {}
    if isinstance(run, nn.Module):
        config, make = _from_python(run, example_inputs, train, test, settings)
    elif Path(run).suffix in _FILES:
        config, make = _from_file(Path(run), settings)
    else:
        if any(value is not None for value in (example_inputs, train, test)):
            raise UsageError(
                f"{run} is a RUN.toml, which names its model and data; for example_inputs, train "
                "and test give a torch.nn.Module first"
            )
        config, make, given = RunFile.load(Path(run)), Job.load, settings
    if trail is not None:
        config = replace(config, settings=replace(config.settings, trail=trail))
    finish = (finish,) if isinstance(finish, str) else tuple(finish)
    _check_finish(finish, config.settings)
    config = replace(config, trackers=(*config.trackers, *trackers), finish=finish)
    return run_config(config, make, on_progress, on_stage, given)


def _check_finish(names: Sequence[str], settings: Settings) -> None:
    if names and settings.keep:
        raise UsageError("finish is for a run with a budget; samples of a search are fine-tuned")
    known = [f"trail/{number}" for number in range(1, settings.trail + 1)]
    for name in names:
        if name not in known:
            expected = f"one of {', '.join(known)}" if known else "trail = N in the RUN.toml first"
            raise UsageError(f"finish is {name!r}; expected {expected}")


def run_config(
    config: RunFile,
    make: Callable[[RunFile], Job],
    on_progress: Progress,
    on_stage: Callable[[str], None],
    settings: Mapping[str, str],
) -> RunResult:
    """A run that is checked; ``make`` loads its model and data."""
    if not is_first():
        on_progress, on_stage = (lambda row: None), (lambda text: None)
    on_stage("loading table, model and data")
    if config.settings.keep and is_one_of_several():
        raise UsageError(
            "keep is searched by processes of their own, not by those of one training; start "
            "latprof compress several times in one folder, without a launcher"
        )
    join_processes()
    if config.settings.keep:  # several processes may search in one folder
        require("optuna", extra="search", why="keep")
        config.out.mkdir(parents=True, exist_ok=True)
        return _compress(make(config), on_progress, on_stage, settings)
    with locked(config.out) if is_first() else nullcontext():
        return _compress(make(config), on_progress, on_stage, settings)


def check_run(run: str | Path, **settings: Any) -> str:
    """Try what a RUN.toml, or an exported file, asks for without training or measuring; returns
    what it would do.

    Table, model, weights and data are loaded, the model is traced, the budget is looked up, and a
    training step, a shrink and an export are tried on a copy of the model.

    Args:
        run, settings: see ``compress``.

    Raises:
        LatprofError: the first thing that would stop the run, in one line.
    """
    if Path(run).suffix in _FILES:
        config, make = _from_file(Path(run), settings)
        return _checked(make(config))
    return _checked(Job.load(RunFile.load(Path(run))))


def _checked(job: Job) -> str:
    surrogate, batches = fit(job.table), job.batches
    settings = _named(job, surrogate).config.settings
    targets = token_targets(settings.budgets, job.example_inputs)
    at_tokens = {
        t.kind: Latency(surrogate, graph=t.graph(job.model, job.example_inputs)) for t in targets
    }
    comp = Compressor(
        job.model,
        job.example_inputs,
        {"latency": Latency(surrogate), **at_tokens},
        settings.budgets,
        blocks=settings.blocks,
        method=settings.method,
        steps=settings.masks.steps(len(batches)),
    )
    suffix = ".tflite" if job.table.target.runtime == "tflite" else ".onnx"
    first = next(iter(batches.epoch(0)))
    inputs = model_inputs(comp, first, with_labels=job.task.with_labels)
    check_trainable(comp, inputs, suffix=suffix)
    return (
        f"budget {comp.goals}; {settings.masks.epochs} and {settings.fine_tune.epochs} epochs of "
        f"{len(batches)} batches, {job.test_rows} test inputs; nothing stands against it"
    )


def _from_python(
    model: nn.Module, example_inputs: Any, train: Any, test: Any, keys: Mapping[str, Any]
) -> tuple[RunFile, Callable[[RunFile], Job]]:
    """What is asked for, and how it becomes a job."""
    for name, value in (("example_inputs", example_inputs), ("train", train), ("test", test)):
        if value is None:
            raise UsageError(
                f"{name} is not given; expected compress(model, example_inputs, train, test, "
                "table=..., budget=...)"
            )
    if "table" not in keys:
        raise UsageError("table is not given; expected the latency table of the target")
    for name in ("model", "data", "test", "weights", "classes", "columns", "images", "text"):
        if name in keys:
            raise UsageError(f"{name} is for a RUN.toml; the model and the data are given here")
    keys = dict(keys)
    held_out = keys.pop("held_out", None)
    named = {"model": type(model).__qualname__, "data": type(train).__qualname__, "out": _OUT}
    config = RunFile.of({**named, **keys}, Path.cwd())
    return config, lambda config: Job.of(config, model, example_inputs, train, test, held_out)


def _from_file(path: Path, keys: Mapping[str, Any]) -> tuple[RunFile, Callable[[RunFile], Job]]:
    """What is asked for of an exported file, and how it becomes a job."""
    inputs, images = keys.get("inputs"), keys.get("images")
    config = RunFile.of(file_keys(path, keys), Path.cwd())
    given = None if inputs is None else Path(inputs)
    return config, lambda config: file_job(config, given, images)


def _compress(
    job: Job,
    on_progress: Progress,
    on_stage: Callable[[str], None],
    settings: Mapping[str, str],
) -> RunResult:
    config, start_s = job.config, time.monotonic()
    result = _trained(job, on_progress, on_stage, settings)
    if not config.settings.why or not is_first():
        return result

    given = {**config.device_settings, **settings}

    def open_with(threads: int, changed: dict[str, Any]) -> Device:
        target = replace(job.table.target, threads=threads)
        return open_target(config.device, target, **{**given, **changed})

    took_s = time.monotonic() - start_s
    return with_advice(result, config.out, open_with, took_s, on_stage)


def _trained(
    job: Job,
    on_progress: Progress,
    on_stage: Callable[[str], None],
    settings: Mapping[str, str],
) -> RunResult:
    config = job.config
    if job.note:
        on_stage(job.note)
    trackers = None
    if config.trackers and is_first():
        from latprof.integrations import Trackers

        trackers = Trackers(config.trackers, config.out, config.settings.to_text())
    given = {**config.device_settings, **settings}
    with _device(job, given) as device:
        deployment = Deployment(device, config.out, job.example_inputs, task=job.task)
        if config.settings.int8:
            on_stage("choosing what becomes int8 by measuring")
            with locked(config.out, waits=True) if config.settings.keep else nullcontext():
                deployment = deployment.in_int8(job.model, job.batches)
        on_stage(f"fitting a surrogate to {len(job.table)} shapes")
        surrogate = fit(job.table)
        job = _named(job, surrogate)
        config = job.config
        keep_blocks(config.out, config.settings.blocks, write=False)
        watcher = Watcher(on_progress, on_stage, trackers, lambda: _keep_asked(config))
        if config.settings.keep:
            from latprof.pipeline.search import search  # asks for Optuna

            return search(job, deployment, surrogate, watcher)
        done = compress_in(
            deployment,
            job.model,
            surrogate,
            config.settings,
            job.batches,
            watcher,
            asked=job.asked(),
            source=job.source,
        )
        for name in config.finish:
            on_stage(f"fine-tuning {name}")
            done = done.training.finish(done, name)
        comp = done.comp
        on_stage(f"budget {comp.goals}")
        networks = {
            "original": (job.model, comp.space.sizes),
            "compressed": (done.small, comp.counts()),
        }
        return from_first(lambda: conclude(deployment, networks, done, job.test, on_stage))


def _device(job: Job, settings: Mapping[str, str]) -> Device:
    """The device of the run, which the first of several processes opens."""
    target = job.table.target
    return (
        open_target(job.config.device, target, **settings) if is_first() else DeviceOfFirst(target)
    )


def _named(job: Job, surrogate: Surrogate) -> Job:
    """The job with its blocks by name."""
    config = job.config
    settings = named_settings(config.settings, job.model, job.example_inputs, surrogate, job.table)
    return replace(job, config=replace(config, settings=settings))


def _keep_asked(config: RunFile) -> None:
    """What was asked for, in the run folder."""
    if not is_first():
        return
    keep_blocks(config.out, config.settings.blocks, write=True)
    if config.text:
        replace_file(config.out / "run.toml", config.text.encode())
