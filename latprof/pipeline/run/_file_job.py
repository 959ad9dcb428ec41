"""A run of an exported file: no code, no labels; the original is what is imitated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from latprof.compress import Classification, Regression, Task
from latprof.compress.graph import Inputs, flat_outputs
from latprof.compress.train import as_batches
from latprof.data import ImageSettings, Unlabelled, load_inputs
from latprof.errors import UsageError
from latprof.models import load_model
from latprof.pipeline.run._job import Job
from latprof.pipeline.run._run_file import RunFile
from latprof.tables import LatencyTable

__all__ = ["file_job", "file_keys"]

#: Share of the inputs that is kept from training.
_HELD_OUT = 5
_NOT_OF_FILES = (
    *("model", "data", "test", "weights", "classes", "columns", "text"),
    *("task", "loss", "metric", "higher_is_better"),
)


class AgreesWithOriginal(Classification):
    """Top-1 of labels that the original gives."""

    metric = "agreement with the original"


def file_keys(path: Path, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of a RUN.toml for a file: trained by distillation alone.

    Raises:
        UsageError: a key that a file has no use for, or no table.
    """
    for name in _NOT_OF_FILES:
        if name in keys:
            raise UsageError(f"{name} is not for an exported file, which has no code and no labels")
    if "table" not in keys:
        raise UsageError("table is not given; expected the latency table of the target")
    inputs = keys.get("inputs")
    rest = {k: v for k, v in keys.items() if k not in ("inputs", "images")}
    named = {"model": str(path), "data": str(inputs or "random"), "out": f"{path.stem}-compressed"}
    return {**named, "distillation": {"coefficient": 1.0}, **rest}


def file_job(config: RunFile, inputs: Path | None, images: ImageSettings | None) -> Job:
    """Load the file and its inputs, and let the original label them.

    Args:
        inputs: see ``load_inputs``.
        images: how images are prepared.

    Raises:
        LatprofError: the file or the inputs cannot be read, in one line.
    """
    table = LatencyTable.load(config.table)
    model, examples, _ = load_model(config.model, folder=config.folder)
    given = Inputs.of(examples)
    if given.kwargs:
        raise UsageError(f"{config.model} takes named inputs; expected inputs in order")
    tensors = given.args
    names = _input_names(model, len(tensors))
    train, test = load_inputs(inputs, names, tensors, images)
    batch, note = _batch(model, tensors, config)
    labels, task = _labels(model, test, batch)
    held = len(test) // _HELD_OUT or 1
    parts = torch.randperm(len(test), generator=torch.Generator().manual_seed(0)).tolist()
    kept = Subset(replace(train, labels=labels), parts[held:])
    seen = DataLoader(
        Subset(replace(test, labels=labels), parts[:held]), batch, drop_last=held >= batch
    )
    batches = as_batches(kept, batch=batch, seed=config.settings.seed)
    if inputs is None:
        note += (
            "no inputs are given: random numbers stand in, with which the network keeps its "
            "latency and not what it has learned; give inputs to keep that too"
        )
    return Job(config, table, model, examples, batches, seen, task, note)


def _input_names(model: nn.Module, count: int) -> tuple[str, ...]:
    graph = getattr(model, "graph", None)
    found = [n.target for n in graph.nodes if n.op == "placeholder"] if graph is not None else []
    return tuple(found) if len(found) == count else tuple(f"input_{i}" for i in range(count))


def _batch(model: nn.Module, examples: tuple[Tensor, ...], config: RunFile) -> tuple[int, str]:
    """Rows of a training batch: as asked for where the network computes each row by itself, else
    those of the file."""
    own, asked = len(examples[0]), config.settings.batch
    with torch.no_grad():
        alone = _first(model(*examples))
        try:
            twice = _first(model(*(torch.cat([x, x]) for x in examples)))
        except RuntimeError:
            twice = alone
    if len(twice) == 2 * len(alone) and torch.allclose(twice[: len(alone)], alone, 1e-3, 1e-4):
        return max(own, asked), ""
    return own, f"the file takes batches of {own} alone, so that training is slow; "


def _labels(model: nn.Module, rows: Unlabelled, batch: int) -> tuple[Tensor, Task]:
    """What the original says of each row: its class, or its outputs."""
    found = []
    for start in range(0, len(rows), batch):
        part = [rows.inputs(i) for i in range(start, min(start + batch, len(rows)))]
        missing = batch - len(part)
        part += part[-1:] * missing  # the network may take whole batches alone
        columns = [torch.stack(column) for column in zip(*part, strict=True)]
        with torch.no_grad():
            out = _first(model(*columns))
        found.append(out[: batch - missing])
    outputs = torch.cat(found)
    if outputs.ndim == 2 and outputs.shape[1] > 1:
        return outputs.argmax(1), AgreesWithOriginal()
    return outputs, Regression()


def _first(outputs: Any) -> Tensor:
    return flat_outputs(outputs)[0]
