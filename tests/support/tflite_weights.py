"""A .tflite file of one op with a weight of one's choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof import Workload
from latprof.compress.export import save_tflite
from latprof.devices.agent.runtimes import write_tflite


def with_weights(
    path: Path, workload: Workload, make: Callable[[tuple[int, ...]], NDArray[Any]]
) -> NDArray[np.float32]:
    """Write the file with ``make(shape)`` for its weight; which it was."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(write_tflite([workload]), 0)
    for tensor in model.subgraphs[0].tensors:
        buffer = model.buffers[tensor.buffer]
        if buffer.data is not None and len(tensor.shape) > 1 and tensor.type == 0:
            weight = np.ascontiguousarray(make(tuple(int(n) for n in tensor.shape)), np.float32)
            buffer.data = np.frombuffer(weight.tobytes(), np.uint8)
    save_tflite(model, path)
    return weight
