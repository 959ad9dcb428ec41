"""How much faster linear layers with weights of few bits are in LiteRT, by rows and size.

    python -P benchmarks/litert_few_bits.py [--rounds 200]

Float32, 8 and 4 bits in turns, one thread; medians, float32 over few bits.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import pandas as pd
from ai_edge_litert.interpreter import Interpreter

from latprof import MatMul
from latprof.devices.agent.runtimes import write_tflite

_SHAPES = [(m, k, n) for k, n in ((384, 1536), (1024, 1024)) for m in (1, 8, 32, 128)]
_BITS = (0, 8, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    rows = []
    for m, k, n in _SHAPES:
        nets = {}
        for bits in _BITS:
            data = write_tflite(MatMul(m, k, n, weight_bits=bits))
            nets[bits] = Interpreter(model_content=data, num_threads=1)
            nets[bits].allocate_tensors()
        seconds: dict[int, list[float]] = {bits: [] for bits in _BITS}
        for _ in range(rounds):
            for bits in random.sample(_BITS, len(_BITS)):
                start = time.perf_counter()
                nets[bits].invoke()
                seconds[bits].append(time.perf_counter() - start)
        medians = {bits: statistics.median(each) for bits, each in seconds.items()}
        faster = {f"{bits} bits": medians[0] / medians[bits] for bits in _BITS if bits}
        rows.append(
            {"rows": m, "inputs": k, "outputs": n, "float32, us": medians[0] * 1e6} | faster
        )
    print(pd.DataFrame(rows).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
