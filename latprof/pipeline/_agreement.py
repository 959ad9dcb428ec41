"""Masked model, shrunk model and exported file, run on the same inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latprof.compress.export import onnx_session
from latprof.compress.shrink import compare_outputs, comparing

__all__ = ["Answer", "agreement", "answer_of_file"]

Answer = Callable[[Tensor], Tensor]


def agreement(first: Answer, second: Answer, inputs: Tensor) -> float:
    """Largest |first - second| over all outputs, relative to the largest |second|; inf where NaN,
    infinities or shapes keep them from being compared."""
    with comparing(*(m for m in (first, second) if isinstance(m, nn.Module))):
        return compare_outputs([second(inputs)], [first(inputs)]).error


def answer_of_file(path: Path) -> Answer:
    """Outputs of an ONNX file, run input by input, for it was exported with batch 1."""
    session = onnx_session(path)
    name = session.get_inputs()[0].name

    def answer(inputs: Tensor) -> Tensor:
        rows = [session.run(None, {name: one[None].contiguous().numpy()})[0] for one in inputs]
        return torch.from_numpy(np.concatenate(rows))

    return answer
