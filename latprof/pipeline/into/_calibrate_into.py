"""Whole-model measurements of random-width variants, which calibrate how ops add up."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latprof.compress import Prune, export, variant
from latprof.devices import Device, measure_files
from latprof.pipeline.into._profile_into import open_table
from latprof.tables import LatencyTable, ModelMeasurement

if TYPE_CHECKING:
    from torch import nn

    from latprof.compress import Graph

__all__ = ["calibrate_into"]


def calibrate_into(
    path: Path,
    device: Device,
    model: nn.Module,
    graph: Graph,
    example_inputs: tuple[Any, ...],
    *,
    name: str,
    n_variants: int,
    seed: int = 0,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> LatencyTable:
    """Measure ``model`` and random-width variants of it whole, into the table at ``path``.

    Their widths are such as pruning leaves by default: others leave the runtimes' fast paths, and
    add up in another way. Variants the table already holds are not measured again. All files are
    timed in interleaved rounds, in the same weather.

    Args:
        name: of the model, as rows name it; variants are ``name#1``, ``name#2``, ...
        seed: of the widths; the same seed gives the same variants.
    """
    table = open_table(path, device)
    graph = graph.aligned(Prune().divisor)
    known = {m.name for m in table.usable_models}
    names = [name, *(f"{name}#{seed}.{number}" for number in range(n_variants))]
    todo = [(number, n) for number, n in enumerate(names) if n not in known]
    suffix = ".tflite" if device.target.runtime == "tflite" else ".onnx"
    with tempfile.TemporaryDirectory(prefix="latprof-") as folder:
        files, ops = [], []
        for done, (number, _) in enumerate(todo):
            on_step(done, len(todo) + 1)
            counts, small = graph.sizes, model
            if number > 0:
                counts = graph.random_counts(np.random.default_rng([seed, number]))
                small = variant(model, graph, np.random.default_rng([seed, number]))
            files.append(export(small, example_inputs, Path(folder) / f"{number}{suffix}"))
            ops.append(tuple(graph.workloads(counts)))
        on_step(len(todo), len(todo) + 1)
        timings = measure_files(device, files) if files else []
    rows = [
        ModelMeasurement(name=n, workloads=w, **vars(t))
        for (_, n), w, t in zip(todo, ops, timings, strict=True)
    ]
    table = table.with_models(rows)
    table.save(path)
    return table
