"""``compress``: train a model to a budget as a RUN.toml says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from latprof.compress import Batches, Compressor
from latprof.compress.train import as_batches, check_trainable, held_out_batches, model_inputs
from latprof.devices import open_target
from latprof.errors import UsageError
from latprof.models import load_model, load_weights
from latprof.pipeline.run import (
    Deployment,
    Progress,
    RunFile,
    Watcher,
    compress_in,
    conclude,
    locked,
)
from latprof.surrogate import fit
from latprof.tables import LatencyTable
from latprof.vocabulary import RunResult, load_callable, replace_file

__all__ = ["check_run", "compress"]


def compress(
    run: str | Path,
    *,
    trail: int | None = None,
    tensorboard: bool = False,
    on_progress: Progress = lambda row: None,
    on_stage: Callable[[str], None] = lambda text: None,
    **settings: str,
) -> RunResult:
    """Train, shrink, export and measure as a RUN.toml says; the same call goes on after a stop.

    Args:
        run: RUN.toml.
        trail: networks to save on the way to the budget; before the file's own number.
        tensorboard: write scalars to ``tensorboard/`` in the run folder.
        on_progress: called at each training step with the figures so far.
        on_stage: called with what is done now.
        settings: of the device, before those of the run file.

    Raises:
        MissingExtraError: tensorboardX is asked for and not installed.
        UsageError: a name does not import, the table is of another target, the budget cannot be
            met, the folder is in use or holds another run; all before any training.

    Example:
        >>> result = latprof.compress("run.toml")  # doctest: +SKIP
        >>> result.compressed.file                 # doctest: +SKIP
        'runs/first/compressed.onnx'
    """
    config = RunFile.load(Path(run))
    if trail is not None:
        config = replace(config, settings=replace(config.settings, trail=trail))
    with locked(config.out):
        return _compress(config, tensorboard, on_progress, on_stage, settings)


def check_run(run: str | Path) -> str:
    """Try what a RUN.toml asks for without training or measuring; returns what it would do.

    Table, model, weights and data are loaded, the model is traced, the budget is looked up, and a
    training step, a shrink and an export are tried on a copy of the model.

    Raises:
        LatprofError: the first thing that would stop the run, in one line.
    """
    config = RunFile.load(Path(run))
    table = LatencyTable.load(config.table)
    model, example_inputs, _ = load_model(config.model, folder=config.folder)
    if config.weights is not None:
        load_weights(model, config.weights)
    batches, test = _data(config)
    settings = config.settings
    comp = Compressor(
        model,
        example_inputs,
        fit(table),
        settings.budgets,
        blocks=settings.blocks,
        method=settings.method,
        steps=settings.masks.steps(len(batches)),
    )
    suffix = ".tflite" if table.target.runtime == "tflite" else ".onnx"
    check_trainable(comp, model_inputs(comp, next(iter(batches.epoch(0)))), suffix=suffix)
    return (
        f"budget {comp.goals}; {settings.masks.epochs} and {settings.fine_tune.epochs} epochs of "
        f"{len(batches)} batches, {_rows(test)} test inputs; nothing stands against it"
    )


def _compress(
    config: RunFile,
    tensorboard: bool,
    on_progress: Progress,
    on_stage: Callable[[str], None],
    settings: Mapping[str, str],
) -> RunResult:
    on_stage("loading table, model and data")
    table = LatencyTable.load(config.table)
    model, example_inputs, _ = load_model(config.model, folder=config.folder)
    if config.weights is not None:
        load_weights(model, config.weights)
    batches, test = _data(config)
    board = None
    if tensorboard:
        from latprof.integrations import TensorBoard

        board = TensorBoard(config.out / "tensorboard")
    given = {**config.device_settings, **settings}
    with open_target(config.device, table.target, **given) as device:
        deployment = Deployment(device, config.out, example_inputs)
        if config.settings.int8:
            on_stage("choosing what becomes int8 by measuring")
            deployment = deployment.in_int8(model, batches)
        on_stage(f"fitting a surrogate to {len(table)} shapes")
        done = compress_in(
            deployment,
            model,
            fit(table),
            config.settings,
            batches,
            Watcher(
                on_progress,
                on_stage,
                board,
                lambda: replace_file(config.out / "run.toml", config.text.encode()),
            ),
            asked=_asked(config, batches, test),
        )
        comp = done.comp
        on_stage(f"budget {comp.goals}")
        networks = {
            "original": (model, comp.space.sizes),
            "compressed": (done.small, comp.counts()),
        }
        return conclude(deployment, networks, done, test, on_stage)


def _data(config: RunFile) -> tuple[Batches, Any]:
    """(training batches, test data) of a callable, checked before anything is trained.

    Raises:
        UsageError: it fails, or returns something else.
    """
    spec = config.data
    make = load_callable(spec, config.folder)
    try:
        made = make()
    except Exception as exc:
        raise UsageError(f"data {spec}: calling it fails: {type(exc).__name__}: {exc}") from exc
    try:
        train, test = made
        batches = as_batches(train, batch=config.settings.batch, seed=config.settings.seed)
        next(iter(batches.epoch(0)))
        next(iter(held_out_batches(test)))
        if len(batches) < 1:
            raise ValueError("no batch")
    except UsageError as exc:
        raise UsageError(f"data {spec}: {exc}") from exc
    except (TypeError, ValueError, AttributeError, StopIteration) as exc:
        raise UsageError(
            f"data {spec}: it returns something else ({type(exc).__name__}: {exc}); expected "
            "(training data, test data): each a torch Dataset or DataLoader, or batches with "
            "epoch(n) and a length, and (test inputs, labels)"
        ) from exc
    return batches, test


def _rows(test: Any) -> int:
    """Rows of test data."""
    if isinstance(test, tuple):
        return len(test[1])
    return len(getattr(test, "dataset", test))


def _asked(config: RunFile, batches: Batches, test: Any) -> dict[str, str]:
    """What the outcome follows from beside settings, weights and target."""
    content = hashlib.sha256()
    if isinstance(test, tuple) and all(isinstance(part, Tensor) for part in test):
        for tensor in test:
            content.update(tensor.contiguous().numpy().tobytes())
        held = content.hexdigest()
    else:
        held = f"{_rows(test)} rows"
    return {
        "model": config.model,
        "data": config.data,
        "data content": f"{len(batches)} batches, test set {held}",
        "table": hashlib.sha256(config.table.read_bytes()).hexdigest(),
        "device": config.device,
    }
