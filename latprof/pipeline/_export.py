"""An int8 file calibrated on a user's data and chosen by measuring on a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from latprof.compress import Int8Export, export_int8
from latprof.devices import open_device
from latprof.errors import UsageError
from latprof.pipeline.run import Workshop, first_inputs
from latprof.vocabulary import load_callable

__all__ = ["export_measured"]


def export_measured(
    model: nn.Module,
    example_inputs: Any,
    path: Path,
    data: str,
    *,
    n_images: int,
    device: str,
    threads: int,
) -> Int8Export:
    """``export_int8``, timed on ``device`` through the runtime of the file's format.

    Args:
        data: ``package.module:callable`` that gives (batches, test), as a RUN.toml's.
        n_images: inputs of its first epoch to calibrate on.
    """
    if n_images < 1:
        raise UsageError(f"--images is {n_images}; expected at least 1")
    batches, _ = load_callable(data)()
    runtime = "tflite" if path.suffix == ".tflite" else "onnxruntime"
    with open_device(device, runtime=runtime, threads=threads) as opened:
        workshop = Workshop(opened, path.parent, example_inputs)
        return export_int8(
            model,
            example_inputs,
            path,
            first_inputs(batches, n_images),
            measure=lambda files: workshop.time(*files),
        )
