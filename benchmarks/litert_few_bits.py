"""How much faster linear layers with weights of few bits are in LiteRT, by rows and size.

    python -P benchmarks/litert_few_bits.py [--rounds 200]

Float32, 8 and 4 bits in turns, one thread; medians, float32 over few bits.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from ai_edge_litert.interpreter import Interpreter

sys.path.insert(0, str(Path(__file__).parent))
from _in_turns import medians_in_turns

from latprof import MatMul
from latprof.devices.agent.runtimes import write_tflite

_SHAPES = [(m, k, n) for k, n in ((384, 1536), (1024, 1024)) for m in (1, 8, 32, 128)]
_BITS = {"float32": 0, "8 bits": 8, "4 bits": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    rows = []
    for m, k, n in _SHAPES:
        nets = {}
        for name, bits in _BITS.items():
            data = write_tflite(MatMul(m, k, n, weight_bits=bits))
            nets[name] = Interpreter(model_content=data, num_threads=1)
            nets[name].allocate_tensors()
        medians = medians_in_turns({name: net.invoke for name, net in nets.items()}, rounds)
        plain_s = medians.pop("float32")
        faster = {name: plain_s / each_s for name, each_s in medians.items()}
        cell = {"rows": m, "inputs": k, "outputs": n, "float32, us": plain_s * 1e6}
        rows.append(cell | faster)
    print(pd.DataFrame(rows).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
