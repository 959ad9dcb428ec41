"""Whole networks predicted without one having been measured: is the interval true?

    python -P benchmarks/uncalibrated.py measure FOLDER [SEED]   profile and time; once more: time
                                                                 what background load hit
    python -P benchmarks/uncalibrated.py report FOLDER [SEED]    fit, predict, write rows; JSON last

40 networks, ten of each kind: multi-layer perceptrons, LSTMs (their steps written out),
transformers and convolution nets, of ops that wait for memory and ops that wait for arithmetic.
Each kind has one table of single ops, profiled for its ten networks; no whole network calibrates
it. The rows are written to benchmarks/results/uncalibrated.jsonl, in place of those of the seed.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latprof.devices import ScheduleSettings, measure_files, open_device
from latprof.models import model_workloads
from latprof.pipeline import profile_into
from latprof.surrogate import fit
from latprof.tables import LatencyTable, ModelMeasurement

PER_KIND, N_SHAPES = 10, 90
RESULTS = Path(__file__).parent / "results" / "uncalibrated.jsonl"

#: What the predictions are to keep.
COVERED, MOST_OFF = 0.85, 2.0


class Net:
    """An ONNX graph that is written down op by op; its weights are random."""

    def __init__(self, rng: np.random.Generator, *shape: int) -> None:
        self._rng, self._shape = rng, shape
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"v{len(self._nodes)}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def weight(self, *shape: int) -> str:
        scale = float(np.prod(shape[:-1] if len(shape) < 3 else shape[1:])) ** -0.5
        values = self._rng.normal(0, scale, shape).astype(np.float32)
        return self._constant(values)

    def numbers(self, *values: int) -> str:
        return self._constant(np.array(values, dtype=np.int64))

    def _constant(self, values: Any) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def linear(self, x: str, k: int, n: int) -> str:
        return str(self.op("Add", self.op("MatMul", x, self.weight(k, n)), self.weight(n)))

    def save(self, output: str, path: Path) -> Path:
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("x", self._shape), (output, None))
        ]
        graph = helper.make_graph(self._nodes, "net", ends[:1], ends[1:], self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(onnx.shape_inference.infer_shapes(model), path)
        return path


def mlp(rng: np.random.Generator, path: Path) -> Path:
    """Of one row, where ops wait for weights, or of 32, where they wait for arithmetic."""
    rows = int(rng.choice([1, 32]))
    widths = _widths(rng, 64, 1536 if rows == 1 else 512, int(rng.integers(3, 7)))
    net = Net(rng, rows, widths[0])
    x = "x"
    for number, (k, n) in enumerate(itertools.pairwise(widths)):
        x = net.op("Gemm", x, net.weight(k, n), net.weight(n))
        if number < len(widths) - 2:
            x = net.op("Relu", x)
    return net.save(x, path)


def lstm(rng: np.random.Generator, path: Path) -> Path:
    """Steps of one cell; all of them read the same weights."""
    k, n = _widths(rng, 48, 512, 2)
    steps = int(rng.choice([4, 8]))
    net = Net(rng, 1, k)
    w_x, w_h, bias = net.weight(k, 4 * n), net.weight(n, 4 * n), net.weight(4 * n)
    h = net.op("Tanh", net.op("Gemm", "x", net.weight(k, n), net.weight(n)))
    c = h
    for _ in range(steps):
        gates = net.op("Add", net.op("Gemm", "x", w_x, bias), net.op("MatMul", h, w_h))
        parts = net.op("Split", gates, net.numbers(n, n, n, n), outputs=4, axis=1)
        i, f, o = (net.op("Sigmoid", part) for part in parts[:3])
        kept, new = net.op("Mul", f, c), net.op("Mul", i, net.op("Tanh", parts[3]))
        c = net.op("Add", kept, new)
        h = net.op("Mul", o, net.op("Tanh", c))
    return net.save(h, path)


def transformer(rng: np.random.Generator, path: Path) -> Path:
    """Blocks of attention and two linear layers over 1, 16 or 64 tokens."""
    tokens, heads = int(rng.choice([1, 16, 64])), 4
    width = 8 * heads * int(rng.integers(2, 9))
    net = Net(rng, tokens, width)
    x = "x"

    def norm(y: str) -> str:
        return str(net.op("LayerNormalization", y, net.weight(width), net.weight(width), axis=-1))

    def split(y: str, *order: int) -> str:
        shape = net.numbers(1, tokens, heads, width // heads)
        return str(net.op("Transpose", net.op("Reshape", y, shape), perm=list(order)))

    for _ in range(int(rng.integers(1, 5))):
        y = norm(x)
        q, k, v = (net.linear(y, width, width) for _ in range(3))
        scores = net.op("MatMul", split(q, 0, 2, 1, 3), split(k, 0, 2, 3, 1))
        mixed = net.op("MatMul", net.op("Softmax", scores, axis=-1), split(v, 0, 2, 1, 3))
        mixed = net.op("Transpose", mixed, perm=[0, 2, 1, 3])
        mixed = net.op("Reshape", mixed, net.numbers(tokens, width))
        x = net.op("Add", x, net.linear(mixed, width, width))
        hidden = net.op("Relu", net.linear(norm(x), width, 4 * width))
        x = net.op("Add", x, net.linear(hidden, 4 * width, width))
    return net.save(x, path)


def conv(rng: np.random.Generator, path: Path) -> Path:
    """Plain 3x3 and 1x1 convolutions, on large maps or small ones."""
    side = int(rng.choice([7, 14, 28]))
    widths = _widths(rng, 16, {7: 384, 14: 192, 28: 96}[side], int(rng.integers(3, 8)))
    net = Net(rng, 1, widths[0], side, side)
    x = "x"
    for c_in, c_out in itertools.pairwise(widths):
        kernel = int(rng.choice([1, 3]))
        weights = net.weight(c_out, c_in, kernel, kernel), net.weight(c_out)
        x = net.op("Conv", x, *weights, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4)
        x = net.op("Relu", x)
    return net.save(net.op("GlobalAveragePool", x), path)


KINDS: dict[str, Callable[[np.random.Generator, Path], Path]] = {
    "mlp": mlp,
    "lstm": lstm,
    "transformer": transformer,
    "conv": conv,
}


def _widths(rng: np.random.Generator, low: int, high: int, n: int) -> list[int]:
    """Multiples of 8, even on a log scale."""
    counts = np.exp(rng.uniform(np.log(low), np.log(high), n))
    return [int(8 * max(round(c / 8), 1)) for c in counts]


def measure(folder: Path, seed: int) -> None:
    """The tables of the four kinds with their networks as whole-model rows."""
    for number, (kind, write) in enumerate(KINDS.items()):
        home = folder / f"{kind}-{seed}"
        home.mkdir(parents=True, exist_ok=True)
        files = [
            write(np.random.default_rng([seed, number, n]), home / f"{n}.onnx")
            for n in range(PER_KIND)
        ]
        ops = [model_workloads(str(path)) for path in files]
        path = home / "table.parquet"
        if path.exists() and len(LatencyTable.load(path).usable_models) == PER_KIND:
            continue
        print(kind, file=sys.stderr, flush=True)
        with open_device("local", runtime="onnxruntime") as device:
            every = [w for model in ops for w in model]
            table = profile_into(path, device, every, n_shapes=N_SHAPES, seed=seed)
            timings = measure_files(device, files, settings=ScheduleSettings(round_s=0.03))
        rows = [
            ModelMeasurement(name=f"{kind}{n}", workloads=tuple(w), **vars(timing))
            for n, (w, timing) in enumerate(zip(ops, timings, strict=True))
        ]
        table.with_models(rows).save(path)


def report(folder: Path, seed: int) -> None:
    """Predict every network from its kind's table without the whole networks in it."""
    rows = []
    for kind in KINDS:
        table = LatencyTable.load(folder / f"{kind}-{seed}" / "table.parquet")
        surrogate = fit(replace(table, models=()))
        for m in table.usable_models:
            p = surrogate.predict_model(m.workloads)
            rows.append(
                {
                    "seed": seed,
                    "network": m.name,
                    "measured_s": m.latency_s,
                    "predicted_s": float(p.latency_s),
                    "lower_s": float(p.lower_s),
                    "upper_s": float(p.upper_s),
                    "ops_added_up_s": float(surrogate.predict(m.workloads).latency_s.sum()),
                    "ops": len(m.workloads),
                    "status": m.status,
                    "target": str(table.target),
                }
            )
    others = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    kept = [line for line in others if json.loads(line)["seed"] != seed]
    RESULTS.write_text("\n".join([*kept, *map(json.dumps, rows)]) + "\n")
    print(json.dumps(summary(rows)))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the rows say of the two promises, over all and by kind."""
    measured, predicted, low, high, summed = (
        np.array([row[name] for row in rows])
        for name in ("measured_s", "predicted_s", "lower_s", "upper_s", "ops_added_up_s")
    )
    inside = (low <= measured) & (measured <= high)
    off = np.maximum(predicted / measured, measured / predicted)
    kinds = np.array([row["network"].rstrip("0123456789") for row in rows])
    return {
        "networks": len(rows),
        "within_interval": float(inside.mean()),
        "most_off": float(off.max()),
        "kept": bool(inside.mean() >= COVERED and off.max() <= MOST_OFF),
        "by_kind": {
            kind: {
                "within_interval": float(inside[kinds == kind].mean()),
                "mape": float(np.abs(predicted / measured - 1)[kinds == kind].mean()),
                "mape_of_ops_added_up": float(np.abs(summed / measured - 1)[kinds == kind].mean()),
                "most_off": float(off[kinds == kind].max()),
                "interval": float((high / low)[kinds == kind].mean()),
            }
            for kind in dict.fromkeys(kinds)
        },
    }


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["measure", folder, *seed]:
            measure(Path(folder), int(seed[0]) if seed else 0)
        case ["report", folder, *seed]:
            report(Path(folder), int(seed[0]) if seed else 0)
        case _:
            raise SystemExit(__doc__)
