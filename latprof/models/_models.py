"""What a MODEL argument stands for: its workloads, and for a module also its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from latprof.errors import UsageError
from latprof.workloads import ModelWorkloads, Workload

__all__ = ["at_batch", "model_workloads"]


def at_batch(workloads: Sequence[Workload], batch: int) -> ModelWorkloads:
    """The same ops for ``batch`` times as many inputs at once.

    Attention products hold their heads as batch, and those of every input.
    """
    if batch < 1:
        raise UsageError(f"batch is {batch}; expected a whole number >= 1")
    larger = tuple(replace(w, batch=w.batch * batch) for w in workloads)
    if isinstance(workloads, ModelWorkloads):
        return replace(workloads, workloads=larger)
    return ModelWorkloads(larger)


def model_workloads(
    spec: str,
    *,
    inputs: Mapping[str, Sequence[int]] = MappingProxyType({}),
    trust: bool = False,
    seq: int | None = None,
    decode: int | None = None,
) -> ModelWorkloads:
    """Full-size workloads of a MODEL, and what is in none of them: an exported file is read,
    anything else is traced.

    Args:
        inputs: {name: shape} of inputs whose dims a file leaves open.
        trust: load a ``.pt2`` file whatever it holds; it can run any code.
        seq: tokens of a module's inputs, in place of those of its example inputs.
        decode: of the step that makes the last of so many tokens, the others in a cache.

    Raises:
        ModelLoadError: it does not import, open or run.
        UsageError: shapes of inputs for a module, or that do not fit the file; tokens for a file,
            or for a module that takes none.
        TraceError: its forward cannot be traced.
    """
    if Path(spec).suffix in (".onnx", ".tflite"):
        from latprof.compress import workloads_of_file

        if tokens := seq or decode:
            raise UsageError(
                f"MODEL {spec} is a file, and its tokens are dims of its inputs; give their shape, "
                f"as in inputs ids=1x{tokens}, in place of {'seq' if seq else 'decode'}"
            )
        return workloads_of_file(Path(spec), inputs)
    if inputs:
        raise UsageError(
            f"MODEL {spec} brings its own example inputs; shapes are for .onnx and .tflite files"
        )
    from latprof.compress import trace
    from latprof.models._decoding import graph_of_step
    from latprof.models._load import load_model
    from latprof.models._tokens import with_tokens

    model, example_inputs, _ = load_model(spec, trust=trust)
    if seq is not None:
        example_inputs = with_tokens(example_inputs, seq, spec)
    if decode is not None:
        graph = graph_of_step(model, example_inputs, decode)
    else:
        graph = trace(model, example_inputs)
    return ModelWorkloads(tuple(graph.workloads()), graph.unmeasured)
