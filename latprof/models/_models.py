"""What a MODEL argument stands for: its workloads, and for a module also its graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from latprof.errors import UsageError
from latprof.workloads import Workload

if TYPE_CHECKING:
    from torch import nn

__all__ = ["at_batch", "load_weights", "model_workloads"]


def at_batch(workloads: Sequence[Workload], batch: int) -> list[Workload]:
    """The same ops for ``batch`` times as many inputs at once.

    Attention products hold their heads as batch, and those of every input.
    """
    if batch < 1:
        raise UsageError(f"batch is {batch}; expected a whole number >= 1")
    return [replace(w, batch=w.batch * batch) for w in workloads]


def model_workloads(spec: str) -> list[Workload]:
    """Full-size workloads of a MODEL: an exported file is read, anything else is traced.

    Raises:
        ModelLoadError: it does not import, open or run.
        TraceError: its forward cannot be traced.
    """
    if Path(spec).suffix in (".onnx", ".tflite"):
        from latprof.compress import workloads_of_file

        return workloads_of_file(Path(spec))
    from latprof.compress import trace
    from latprof.models._load import load_model

    model, example_inputs, _ = load_model(spec)
    return trace(model, example_inputs).workloads()


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict into ``model``.

    Raises:
        UsageError: no such file, or it is another network's.
    """
    import torch

    try:
        model.load_state_dict(torch.load(path, weights_only=True))
    except (OSError, RuntimeError, ValueError) as exc:
        raise UsageError(f"weights {path}: {str(exc).splitlines()[0]}") from exc
