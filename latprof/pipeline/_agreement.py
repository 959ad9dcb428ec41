"""Masked model, shrunk model and exported file, run on the same inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latprof.compress.shrink import relative_error
from latprof.vocabulary import require

__all__ = ["Answer", "agreement", "answer_of_file"]

Answer = Callable[[Tensor], Tensor]


def agreement(first: Answer, second: Answer, inputs: Tensor) -> float:
    """Largest |first - second| over all outputs, relative to the largest |second|."""
    with torch.inference_mode():
        return relative_error([second(inputs)], [first(inputs)])


def answer_of_file(path: Path) -> Answer:
    """Outputs of an ONNX file, run input by input, for it was exported with batch 1."""
    runtime = require("onnxruntime", extra="onnx", why="running an ONNX file")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def answer(inputs: Tensor) -> Tensor:
        rows = [session.run(None, {name: one[None].contiguous().numpy()})[0] for one in inputs]
        return torch.from_numpy(np.concatenate(rows))

    return answer
