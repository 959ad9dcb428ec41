"""Each advice on a copy of the whole file, measured against it in turns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latprof.compress.shrink import compare_outputs
from latprof.devices import Device, compare_until
from latprof.pipeline.explaining._findings import Finding, changed_file
from latprof.pipeline.explaining._verdict import Verdict, VerdictCheck
from latprof.pipeline.explaining.graph import Model, load_file

__all__ = ["check_findings"]

#: No round begins later than this, and a ratio's standard error that is small enough.
_MAX_S, _CONVERGED = 40.0, 0.01


def check_findings(
    device: Device,
    model: Model,
    whole: Path,
    whole_s: float,
    found: Sequence[Finding],
    on_share: Callable[[float], None],
) -> list[Verdict]:
    """Each advice on a copy of the whole file, all measured in turns."""
    paths = [
        changed_file(model, one.option, whole.parent / f"changed-{i}.onnx")
        for i, one in enumerate(found)
    ]
    compared = compare_until(
        device,
        [whole, *paths],
        lambda c: max(c.ratio_errors) <= _CONVERGED,
        max_s=_MAX_S,
        on_round=on_share,
    )
    comparable = not device.no_outputs and all(model.shape(name) for name in model.inputs)
    keeps = comparable and any(one.option.keeps for one in found)
    before = device.run(whole, _random_inputs(model, model)) if keeps else []
    verdicts = []
    for i, (one, path) in enumerate(zip(found, paths, strict=True), start=1):
        ratio = compared.ratios[i]
        error_s = compared.ratio_errors[i] * ratio * whole_s
        error = None
        if comparable and one.option.keeps:
            after = device.run(path, _random_inputs(model, load_file(path)))
            error = compare_outputs(before, after).error
        checked = VerdictCheck(whole_s * (1 - ratio), error_s, error)
        verdicts.append(dataclasses.replace(one.verdict, checked=checked))
    return verdicts


def _random_inputs(model: Model, changed: Model) -> dict[str, Any]:
    """The same values for both, in the types that each takes."""
    rng = np.random.default_rng(0)
    inputs = {}
    for name in model.inputs:
        shape = model.shape(name)
        assert shape is not None
        dtype = model.onnx.helper.tensor_dtype_to_np_dtype(changed.type(name))
        floats = np.issubdtype(dtype, np.floating)
        inputs[name] = (rng.standard_normal(shape) if floats else np.zeros(shape)).astype(dtype)
    return inputs
