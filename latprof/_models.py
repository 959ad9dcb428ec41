"""What a MODEL argument stands for: its workloads, and for a module also its graph."""

from __future__ import annotations

from pathlib import Path

from latprof._workload import Workload

__all__ = ["model_workloads"]


def model_workloads(spec: str) -> list[Workload]:
    """Full-size workloads of a MODEL: an exported file is read, anything else is traced.

    Raises:
        ModelLoadError: it does not import, open or run.
        TraceError: its forward cannot be traced.
    """
    if Path(spec).suffix in (".onnx", ".tflite"):
        from latprof.compress import workloads_of_file

        return workloads_of_file(Path(spec))
    from latprof.compress import load_model, trace

    model, example_inputs, _ = load_model(spec)
    return trace(model, example_inputs).workloads()
