"""What encodings of a weight cost: bytes of the file, and time of a call in ONNX Runtime.

    python -P benchmarks/packed_files.py --rounds 200

One 3x3 convolution of 256 to 256 channels on 14x14, one thread; calls of all files in turns, each
round in another order; medians, relative to the float32 file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parent))
from _in_turns import medians_in_turns

from latprof.compress.export import pack_onnx

_SHAPE, _PLACES = (256, 256, 3, 3), (1, 256, 14, 14)
_CONV = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])


def _model(nodes: list[Any], held: dict[str, Any], opset: int = 18, sparse: Any = None) -> Any:
    tensors = [
        v if isinstance(v, TensorProto) else numpy_helper.from_array(np.asarray(v), k)
        for k, v in held.items()
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, _PLACES) for n in "xy")
    graph = helper.make_graph([*nodes, _CONV], "g", [x], [y], tensors)
    graph.sparse_initializer.extend([sparse] if sparse else [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def _packed(weight: NDArray[np.float32], folder: Path) -> Any:
    path = folder / "packed.onnx"
    onnx.save(_model([], {"w": weight}), str(path))
    pack_onnx(path)
    return onnx.load(str(path))


def _models(folder: Path) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    step = np.float32(0.0137)
    codes = {
        bits: generator.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), _SHAPE) for bits in (4, 8)
    }
    weights = {bits: (each * step).astype(np.float32) for bits, each in codes.items()}
    zeros = (weights[8] * generator.random(_SHAPE) * (generator.random(_SHAPE) < 0.1)).astype("f")
    dense = helper.make_node("DequantizeLinear", ["q", "s"], ["w"])
    channels = helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0)
    int8 = codes[8].astype(np.int8)
    int4 = helper.make_tensor("q", TensorProto.INT4, _SHAPE, codes[4].ravel().tolist())
    at = np.flatnonzero(zeros)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(zeros.ravel()[at], "w"), numpy_helper.from_array(at), list(_SHAPE)
    )
    half = generator.standard_normal(_SHAPE).astype(np.float16)
    return {
        "float32": _model([], {"w": weights[8]}),
        "float16, Cast": _packed(half.astype(np.float32), folder),
        "8-bit codes, packed": _packed(weights[8], folder),
        "int8, DequantizeLinear, one scale": _model([dense], {"q": int8, "s": step}),
        "int8, DequantizeLinear, a scale per channel": _model(
            [channels], {"q": int8, "s": np.full(_SHAPE[0], step)}
        ),
        "4-bit codes, packed": _packed(weights[4], folder),
        "int4, DequantizeLinear": _model([dense], {"q": int4, "s": step}, opset=21),
        "90% zeros, sparse initializer": _model([], {}, sparse=sparse),
        "90% zeros, packed": _packed(zeros, folder),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    with tempfile.TemporaryDirectory() as folder:
        files = {n: m.SerializeToString() for n, m in _models(Path(folder)).items()}
    sessions = {n: onnxruntime.InferenceSession(f, options) for n, f in files.items()}
    x = np.random.default_rng(1).standard_normal(_PLACES).astype(np.float32)
    calls = {name: partial(session.run, None, {"x": x}) for name, session in sessions.items()}
    medians = medians_in_turns(calls, rounds)
    for name, file in files.items():
        print(f"{name:45} {len(file) / 1e6:6.2f} MB {medians[name] / medians['float32']:6.2f}")


if __name__ == "__main__":
    main()
