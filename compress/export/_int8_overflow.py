"""Whether ONNX Runtime's 8-bit products overflow on this machine's CPU."""

from __future__ import annotations

from functools import cache

import numpy as np

from latprof.vocabulary import require

__all__ = ["int8_overflows"]

_SIZE = 64


@cache
def int8_overflows() -> bool:
    """True on x86 CPUs without VNNI: there two products of uint8 and int8 are added in 16 bits, and
    what is larger than these hold is cut off. Found by a product of the largest numbers."""
    onnx = require("onnx", extra="onnx", why="quantizing an ONNX file")
    runtime = require("onnxruntime", extra="onnx", why="quantizing an ONNX file")
    helper, types = onnx.helper, onnx.TensorProto
    weights = onnx.numpy_helper.from_array(np.full((_SIZE, _SIZE), 127, dtype=np.int8), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "largest",
        [helper.make_tensor_value_info("x", types.UINT8, [1, _SIZE])],
        [helper.make_tensor_value_info("y", types.INT32, [1, _SIZE])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": np.full((1, _SIZE), 255, dtype=np.uint8)})
    return bool((found != 255 * 127 * _SIZE).any())
