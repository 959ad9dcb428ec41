"""Which runtime runs a file, where nobody says so."""

from __future__ import annotations

from pathlib import Path

from latprof.errors import UsageError

__all__ = ["runtime_of"]

_RUNTIMES = {".onnx": "onnxruntime", ".tflite": "tflite", ".pt2": "torch"}


def runtime_of(file: Path, chosen: str | None) -> str:
    """``chosen``, else the runtime of the file's format.

    Raises:
        UsageError: none is known for it.
    """
    runtime = chosen or _RUNTIMES.get(file.suffix)
    if runtime is None:
        raise UsageError(
            f"{file}: no runtime is known for {file.suffix!r}; expected one of "
            f"{', '.join(_RUNTIMES)}, or say which with --runtime"
        )
    return runtime
