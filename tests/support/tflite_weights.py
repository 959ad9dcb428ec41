"""A .tflite file of one op with a weight of one's choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof import Workload
from latprof.devices.agent.runtimes import write_tflite


def with_weights(
    path: Path, workload: Workload, make: Callable[[tuple[int, ...]], NDArray[Any]]
) -> NDArray[np.float32]:
    """Write the file with ``make(shape)`` for its weight; which it was."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(write_tflite([workload]), 0)
    for tensor in model.subgraphs[0].tensors:
        buffer = model.buffers[tensor.buffer]
        if buffer.data is not None and len(tensor.shape) > 1 and tensor.type == 0:
            weight = np.ascontiguousarray(make(tuple(int(n) for n in tensor.shape)), np.float32)
            buffer.data = np.frombuffer(weight.tobytes(), np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return weight
