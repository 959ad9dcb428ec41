"""How much faster linear layers with weights of few bits are, by rows and size.

    python -P benchmarks/few_bits_layers.py [--runtime tflite] [--rounds 200]

Float32, 8 and 4 bits in turns, one thread; medians, float32 over few bits.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from _in_turns import medians_in_turns

from latprof import MatMul
from latprof.devices.agent.runtimes import write_onnx, write_onnx_few_bits, write_tflite

_SHAPES = [(m, k, n) for k, n in ((384, 1536), (1024, 1024)) for m in (1, 8, 32, 128)]
_BITS = {"float32": 0, "8 bits": 8, "4 bits": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runtime", default="onnxruntime", choices=["onnxruntime", "tflite"])
    parser.add_argument("--rounds", type=int, default=200)
    o = parser.parse_args()
    call = in_onnxruntime if o.runtime == "onnxruntime" else in_tflite
    rows = []
    for m, k, n in _SHAPES:
        calls = {name: call(MatMul(m, k, n, weight_bits=b)) for name, b in _BITS.items()}
        medians = medians_in_turns(calls, o.rounds)
        plain_s = medians.pop("float32")
        faster = {name: plain_s / each_s for name, each_s in medians.items()}
        cell = {"rows": m, "inputs": k, "outputs": n, "float32, us": plain_s * 1e6}
        rows.append(cell | faster)
    print(pd.DataFrame(rows).round(2).to_string(index=False))


def in_tflite(product: MatMul) -> Callable[[], Any]:
    from ai_edge_litert.interpreter import Interpreter

    net = Interpreter(model_content=write_tflite(product), num_threads=1)
    net.allocate_tensors()
    return lambda: net.invoke()


def in_onnxruntime(product: MatMul) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    write = write_onnx_few_bits if product.weight_bits else write_onnx
    session = onnxruntime.InferenceSession(write(product), options)
    rows = np.random.default_rng(0).standard_normal((product.m, product.k), dtype=np.float32)
    return functools.partial(session.run, None, {"x": rows})


if __name__ == "__main__":
    main()
