"""From a model to its Graph: torch.export, then channels followed op by op."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from latprof.compress.graph import Graph, Inputs, evaluating, quiet, warn_of_training_only
from latprof.compress.trace._grouping import build_groups
from latprof.compress.trace._interpreter import Interpreter
from latprof.compress.trace._probe import probe_groups
from latprof.compress.trace._program import export_program
from latprof.compress.trace._shortcuts import shortcut_layers
from latprof.compress.trace._tracer import Tracer
from latprof.errors import UsageError

__all__ = ["trace"]


def trace(
    model: nn.Module, example_inputs: Any, exclude: Sequence[str] = (), *, probe: bool = True
) -> Graph:
    """The model's ops, its channel groups, and which of them can shrink.

    Args:
        model: any module; it is traced in eval mode and left as it was.
        example_inputs: a tensor, a tuple of positional inputs, or a dict of named ones.
        exclude: patterns (``fnmatch``) of module or parameter names to leave whole.
        probe: try every group on a small copy, and leave whole those whose code cannot follow.

    Warns:
        TrainingOnlyWarning: the model has a head that runs in training mode alone.

    Raises:
        UsageError: a pattern that matches nothing.
        TraceError: the forward fails on these inputs, or depends on the data in them.
    """
    inputs = Inputs.of(example_inputs)
    tensors = _tensors(model)
    _prepare_exclude(model, exclude)
    with _tracing(model):
        inputs.check(model)
        program = export_program(model, inputs)
        tracer = Tracer(tensors, exclude)
        outputs = Interpreter(tracer, tensors).outputs(program, model)
        tracer.held.read_at_the_end(outputs)
        for value in outputs:
            tracer.pin(value, "output of the model")
    warn_of_training_only(model, inputs)
    tracer.settle()
    groups, ops, memory = build_groups(tracer)
    graph = Graph(
        groups=groups,
        ops=ops,
        shapes={name: tuple(t.shape) for name, t in tensors.items()},
        inputs=inputs,
        name=type(model).__name__,
        unmeasured=Counter(sorted(op.name for op in tracer.ops if op.workload is None)),
        opaque=frozenset(op.name for op in tracer.ops if op.opaque),
        buffers=frozenset(n for n, t in tensors.items() if not isinstance(t, nn.Parameter)),
        grouped=dict(tracer.grouped),
        element_bytes={name: t.element_size() for name, t in tensors.items()},
        memory=memory,
        shortcuts=shortcut_layers(program),
        lookups=dict(tracer.lookups),
    )
    return probe_groups(model, graph) if probe else graph


def _prepare_exclude(model: nn.Module, exclude: Sequence[str]) -> None:
    names = [name for name, _ in (*model.named_modules(), *model.named_parameters())]
    for pattern in exclude:
        if not fnmatch.filter(names, pattern):
            raise UsageError(
                f"exclude: {pattern!r} matches no module or parameter of {type(model).__name__}"
            )


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, tied ones under their first name."""
    found: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found.setdefault(id(tensor), (name, tensor))
    return dict(found.values())


@contextmanager
def _tracing(model: nn.Module) -> Iterator[None]:
    """Eval mode and no fused fast paths, as it was afterwards."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), quiet(), evaluating(model):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
