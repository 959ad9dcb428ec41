"""MiniLM on SST-2 with weights of few bits in 1 to 8 tokens: learned widths beside uniform ones.

    python -P benchmarks/minilm_bits.py FOLDER --data DIR      everything; a table last
    python -P benchmarks/minilm_bits.py FOLDER --only-report   what is there

The network is fine-tuned as in sst2.py, once per seed. From there ``learned`` meets a budget of its
latency with 4 and 8 bits, and ``float32`` trains for as long. ``int4``, ``int8`` and ``dynamic``
are files of that ``float32`` network by ONNX Runtime's own tools: weights of as many bits in blocks
of 32, and its dynamic quantization. Latency is that of a file of as many tokens, in turns with the
original's. The accuracy is that of a file of 32 tokens of the same weights, in the same bits, since
hardly a sentence of the validation set has 8.
"""

# ruff: noqa: E402  # how a process trains is set before torch is imported
from __future__ import annotations

import argparse
import copy
import functools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latprof.pipeline import prepare_for_training

prepare_for_training("the study")  # before torch is imported

import numpy as np
import onnxruntime
import pandas as pd
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
import sst2
from _json_rows import add_rows, read_rows, study_parser
from versus_methods import QuietDeployment, train_as_long

from latprof import Quantize, Surrogate
from latprof.compress import TrainSettings, export, trace
from latprof.devices import open_device
from latprof.pipeline import calibrate_into, profile_into
from latprof.pipeline.run import Settings, compress_in
from latprof.surrogate import fit
from latprof.tables import LatencyTable
from latprof.workloads import MatMul, Workload

_LONG = 32  # tokens of the file that is judged
_SHAPES, _VARIANTS = 120, 14
_OF_A_BYTE = ("MatMulInteger", "DynamicQuantizeMatMul")
_WAYS = ("float32", "learned", "int8", "int4", "dynamic")


@dataclass(frozen=True)
class AtTokens:
    """A surrogate that answers for products of other rows as if they had so many."""

    surrogate: Surrogate
    tokens: int

    @property
    def labels(self) -> Any:
        return self.surrogate.labels

    def reload_fraction(self, workloads: Sequence[Workload]) -> float:
        return self.surrogate.reload_fraction([self._short(w) for w in workloads])

    def shares(self, products: Sequence[Workload], reload_fraction: float) -> Any:
        return self.surrogate.shares([self._short(w) for w in products], reload_fraction)

    def _short(self, workload: Workload) -> Workload:
        if isinstance(workload, MatMul) and workload.m == _LONG:
            return replace(workload, m=self.tokens)
        return workload


class Bench:
    """What all runs share."""

    def __init__(self, o: argparse.Namespace, device: Any) -> None:
        self.options, self.device = o, device
        self.original = functools.cache(self._original)
        self.train, self.test = (sst2.sentences(o.data, p, o.sentences) for p in sst2.PARTS)

    def _original(self, seed: int) -> tuple[nn.Module, Any]:
        sentences = replace(self.train, seed=seed)
        return sst2.original(self.options, sentences, seed), sentences

    def settings(self, seed: int) -> Settings:
        o = self.options
        return Settings(
            budget=o.budget,
            blocks=(Quantize(bits=(4, 8), grid="symmetric", scales="channel"),),
            masks=TrainSettings(2, lr=o.lr_after, final=0.5, precision=o.precision),
            fine_tune=TrainSettings(2, lr=o.lr_after, precision=o.precision),
            seed=seed,
            why=False,
        )

    def deployment(self, tokens: int, name: str) -> QuietDeployment:
        folder = self.options.folder / name
        folder.mkdir(exist_ok=True)
        lock = self.options.folder / "quiet.lock"
        return QuietDeployment(self.device, folder, sst2.example(tokens), lock=lock)

    def surrogate(self, tokens: int) -> Surrogate:
        path = self.options.folder / f"minilm-{tokens}.parquet"
        if not path.with_suffix(".done").exists():
            model = sst2.untrained().eval()
            graph, inputs = trace(model, sst2.example(tokens)), sst2.example(tokens)
            profile_into(path, self.device, graph.workloads(), n_shapes=_SHAPES, bits=(4, 8))
            calibrate_into(
                path, self.device, model, graph, inputs, name="minilm", n_variants=_VARIANTS
            )
            path.with_suffix(".done").touch()
        return fit(LatencyTable.load(path))


def main() -> None:
    o = _options()
    if not o.only_report:
        if reason := sst2.missing(o.data):
            print(f"skipped: {reason}")
            return
        torch.set_num_threads(o.threads)
        o.folder.mkdir(parents=True, exist_ok=True)
        with open_device("local", runtime="onnxruntime", threads=1) as device:
            bench = Bench(o, device)
            for seed in o.seeds:
                for tokens in o.tokens:
                    for way in o.ways:
                        cell = {"seed": seed, "tokens": tokens, "way": way, "budget": o.budget}
                        cell |= {"sentences": o.sentences, "precision": o.precision}
                        cell |= {"lr_after": o.lr_after}
                        add_rows(o.rows, cell, run, bench, seed, tokens, way)
    print(report(read_rows(o.rows)))


def run(bench: Bench, seed: int, tokens: int, way: str) -> dict[str, Any]:
    start = time.monotonic()
    model, _ = bench.original(seed)
    write = learned(bench, seed, tokens) if way == "learned" else plain(bench, seed, way)
    folder = bench.options.folder / f"{seed}-{way}"
    folder.mkdir(exist_ok=True)
    short, long = (folder / f"{count}.onnx" for count in (tokens, _LONG))
    write(tokens, short)
    write(_LONG, long)
    deployment = bench.deployment(tokens, f"{seed}-original-{tokens}")
    original = deployment.export(model, "original")
    ratios = [deployment.ratios(original, short)[0] for _ in range(bench.options.readings)]
    (original_s,) = deployment.time(original)
    return {
        "accuracy": accuracy(long, bench.test),
        "original_accuracy": sst2.accuracy(model, bench.test),
        "latency": float(np.median(ratios)),
        "original_s": original_s,
        "bytes": short.stat().st_size,
        "original_bytes": original.stat().st_size,
        "bits": bits_of(short),
        "wall_s": time.monotonic() - start,
    }


def learned(bench: Bench, seed: int, tokens: int) -> Callable[[int, Path], None]:
    """latprof to the budget; what is stored in few bits is chosen for ``tokens``, in both files."""
    model, sentences = bench.original(seed)
    surrogate = bench.surrogate(tokens)
    deployment = replace(
        bench.deployment(tokens, f"{seed}-learned-{tokens}"), surrogate=surrogate, pack=True
    )
    small = compress_in(deployment, model, surrogate, bench.settings(seed), sentences).small
    chosen: Any = AtTokens(surrogate, tokens)

    def write(count: int, path: Path) -> None:
        export(small, sst2.example(count), path, pack=True, surrogate=chosen)

    return write


def plain(bench: Bench, seed: int, way: str) -> Callable[[int, Path], None]:
    """The network in float32, trained for as long, through one of ONNX Runtime's quantizers."""
    model, sentences = bench.original(seed)
    folder = bench.options.folder / f"{seed}-float32"
    folder.mkdir(exist_ok=True)
    settings = bench.settings(seed)
    small = train_as_long(copy.deepcopy(model), model, sentences, settings, folder)

    def write(count: int, path: Path) -> None:
        export(small, sst2.example(count), path)
        quantized(path, way)

    return write


def quantized(path: Path, way: str) -> None:
    """The file itself, by ONNX Runtime's tools as their documentation has them."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    if way == "dynamic":
        quantize_dynamic(path, path, per_channel=True, weight_type=QuantType.QInt8)
    if way in ("int4", "int8"):
        bits = int(way.removeprefix("int"))
        done = MatMulNBitsQuantizer(
            onnx.load(str(path)), bits=bits, block_size=32, is_symmetric=False, accuracy_level=4
        )
        done.process()
        onnx.save(done.model.model, str(path))


def bits_of(path: Path) -> dict[str, int]:
    """How many products of the file have weights of so many bits; ``0``: as float32."""
    import onnx

    nodes = onnx.load(str(path)).graph.node
    found: dict[str, int] = {}
    for node in nodes:
        if node.op_type in ("MatMul", "Gemm", "MatMulNBits", *_OF_A_BYTE):
            bits = next((str(a.i) for a in node.attribute if a.name == "bits"), "0")
            kind = "8" if node.op_type in _OF_A_BYTE else bits
            found[kind] = found.get(kind, 0) + 1
    return found


def accuracy(path: Path, test: sst2.Sentences) -> float:
    """Of the file itself."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    names = [each.name for each in session.get_inputs()]
    right = 0
    for *inputs, label in test.as_deployed():
        feeds = dict(zip(names, (tensor.numpy() for tensor in inputs), strict=True))
        right += int(session.run(None, feeds)[0].argmax() == int(label))
    return right / len(test.ids)


def report(rows: list[dict[str, Any]]) -> str:
    """Means over seeds, as a table."""
    if not rows:
        return "no rows"
    table = pd.DataFrame(rows)
    table["lost"] = 100 * (table["original_accuracy"] - table["accuracy"])
    table["faster"] = 1 / table["latency"]
    table["smaller"] = table["original_bytes"] / table["bytes"]
    by = table.groupby(["tokens", "budget", "way"], sort=False)
    means = by[["original_s", "faster", "smaller", "original_accuracy", "accuracy", "lost"]].mean()
    means["least_faster"], means["most_lost"] = by["faster"].min(), by["lost"].max()
    means["seeds"] = by["seed"].nunique()
    return str(means.round(4).to_string())


def _options() -> argparse.Namespace:
    parser = study_parser(__doc__, "minilm_bits.jsonl")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tokens", nargs="*", type=int, default=[1, 8])
    parser.add_argument("--ways", nargs="*", default=list(_WAYS), choices=_WAYS)
    parser.add_argument("--budget", default="60%", help="of what is learned")
    parser.add_argument("--lr-after", type=float, default=5e-5)
    parser.add_argument("--readings", type=int, default=3, help="of each finished network")
    return sst2.with_original(parser, sentences=2_000, precision="bf16")


if __name__ == "__main__":
    main()
