"""int8 through ONNX Runtime and LiteRT on this CPU, one thread, beside float32.

    python -P benchmarks/int8.py [--data DIR]

Latency and accuracy of MobileNetV3-Small and ResNet-18 trained on FashionMNIST (in the cache after
the first run), through latprof.compress.export_int8, calibrated on 128 training images (.tflite
where the extra tflite-export is installed); formats of ResNet-18's ONNX file; and single ops. What
is compared is timed call by call in turns in one process, and the tenth percentile taken: the
machine may be busy, and ratios are what is claimed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from ai_edge_litert.interpreter import Interpreter
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor, nn

from latprof.compress import Int8Warning, TensorBatches, TrainSettings, export, export_int8
from latprof.compress.export import LayoutWarning, file_accuracy
from latprof.devices import open_device
from latprof.devices.agent.runtimes import write_onnx, write_onnx_int8, write_tflite
from latprof.vocabulary import cache_dir
from latprof.workloads import Conv2d, MatMul, Workload
from latprof.zoo import fashion_mnist, mobilenet_v3_small, resnet18

sys.path.insert(0, str(Path(__file__).parent))
from _originals import trained_once

CALIBRATION, ROUNDS, CALLS = 128, 60, 5
#: Images of training and the recipe; MobileNetV3-Small is the demo's own.
NETWORKS = {
    "mobilenet_v3_small": (lambda: mobilenet_v3_small(), 60_000, TrainSettings(5)),
    "resnet18": (lambda: resnet18(size=28, in_channels=1), 12_000, TrainSettings(3, lr=2e-3)),
}
OPS: dict[str, Workload] = {
    "1x1, 14x14, 256 to 256": Conv2d(14, 14, 256, 256),
    "1x1, 28x28, 16 to 72": Conv2d(28, 28, 16, 72),
    "1x1, 4x4, 96 to 576": Conv2d(4, 4, 96, 576),
    "3x3, 14x14, 128 to 128": Conv2d(14, 14, 128, 128, kernel=3),
    "depthwise 5x5, 7x7, 240": Conv2d(7, 7, 240, 240, kernel=5, groups=240),
    "depthwise 3x3, 14x14, 96": Conv2d(14, 14, 96, 96, kernel=3, groups=96),
    "matmul, 1x576x1024": MatMul(1, 576, 1024),
    "matmul, 64x256x256": MatMul(64, 256, 256),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(), "calibration_images": CALIBRATION,
        "versions": {p: version(p) for p in ("latprof", "onnxruntime", "ai-edge-litert", "torch")},
        "load_before": os.getloadavg(),
    }  # fmt: skip
    runtimes = {"onnxruntime": ".onnx"}
    if importlib.util.find_spec("litert_torch"):
        runtimes["tflite"] = ".tflite"
    for runtime in runtimes:
        with open_device("local", runtime=runtime, threads=1) as device:
            result.setdefault("targets", {})[runtime] = str(device.target)
    with tempfile.TemporaryDirectory() as folder:
        result["networks"] = {
            runtime: {name: _network(name, suffix, Path(folder), given.data) for name in NETWORKS}
            for runtime, suffix in runtimes.items()
        }
        result["formats"] = _formats(Path(folder), given.data)
        result["ops"] = {
            "onnxruntime": _ops(write_onnx, write_onnx_int8),
            "tflite": _ops(write_tflite, write_tflite),
        }
    result["load_after"] = os.getloadavg()
    print(json.dumps(result))


def _network(name: str, suffix: str, folder: Path, data: Path | None) -> dict[str, Any]:
    build, images, recipe = NETWORKS[name]
    batches, (test, labels) = fashion_mnist(data, images=images)
    model, example = build()
    _train(name, model, batches, recipe)
    tried: dict[str, float] = {}

    def measure(files: Sequence[Path]) -> list[float]:
        seconds = _seconds(files)
        tried.update({f.stem: s for f, s in zip(files, seconds, strict=True)})
        return seconds

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", Int8Warning)
        warnings.simplefilter("ignore", LayoutWarning)
        found = export_int8(
            model, example, folder / f"{name}.int8{suffix}", [batches.images[:CALIBRATION]],
            measure=measure,
        )  # fmt: skip
        original = export(model, example, folder / f"{name}{suffix}")
    assert found.float_latency_s is not None
    assert found.latency_s is not None
    accuracy = {
        "float": file_accuracy(original, example, test, labels),
        "int8": file_accuracy(found.path, example, test, labels),
    }
    row = {
        "float_latency_s": found.float_latency_s, "int8_latency_s": found.latency_s,
        "speedup": found.float_latency_s / found.latency_s, "choice": found.choice,
        "latency_of_each_choice_s": tried, "accuracy": accuracy,
        "points_lost": 100 * (accuracy["float"] - accuracy["int8"]),
        "sqnr_db": found.sqnr_db, "top1_agreement": found.top1_agreement,
        "bytes": {"float": original.stat().st_size, "int8": found.path.stat().st_size},
        "warned": [str(w.message) for w in said],
    }  # fmt: skip
    print(name, json.dumps(row), file=sys.stderr)
    return row


def _train(name: str, model: nn.Module, batches: TensorBatches, recipe: TrainSettings) -> None:
    path = cache_dir() / f"{name}-{len(batches.images)}-{recipe.epochs}x{recipe.lr:g}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    trained_once(model, path, batches, recipe, seed=0)


def _seconds(sources: Sequence[Path | bytes]) -> list[float]:
    """Tenth percentile of each model's calls, ROUNDS turns of CALLS calls after one to warm up."""
    calls = [_call(source) for source in sources]
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, times in zip(calls, taken, strict=True):
            call()
            for _ in range(CALLS):
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
    return [float(np.quantile(times, 0.1)) for times in taken]


def _call(source: Path | bytes) -> Callable[[], object]:
    dice = np.random.default_rng(0)
    content = source if isinstance(source, bytes) else source.read_bytes()
    if content[4:8] == b"TFL3":
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            numbers = dice.standard_normal(detail["shape"])
            steps = numbers if detail["dtype"] == np.float32 else (40 * numbers).clip(-128, 127)
            interpreter.set_tensor(detail["index"], steps.astype(detail["dtype"]))
        return interpreter.invoke
    session = _session(source)
    feed = {}
    for node in session.get_inputs():
        numbers = dice.standard_normal(node.shape)
        feed[node.name] = (
            numbers.astype(np.float32)
            if node.type == "tensor(float)"
            else (128 + 40 * numbers).clip(0, 255).astype(np.uint8)
        )
    return lambda: session.run(None, feed)


def _session(source: Path | bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class _Reader(CalibrationDataReader):
    def __init__(self, name: str, images: Tensor) -> None:
        self._feeds = iter([{name: x[None].numpy()} for x in images])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def _formats(folder: Path, data: Path | None) -> dict[str, float]:
    """Seconds of ResNet-18 in both formats of ONNX Runtime, with each type of activations."""
    original = folder / "resnet18.onnx"
    name = _session(original).get_inputs()[0].name
    images = fashion_mnist(data, images=64)[0].images
    files = [original]
    for form in (QuantFormat.QDQ, QuantFormat.QOperator):
        for kind in (QuantType.QUInt8, QuantType.QInt8):
            files.append(folder / f"{form.name} {kind.name[1:]}.onnx")
            quantize_static(
                original, files[-1], _Reader(name, images), quant_format=form, per_channel=True,
                activation_type=kind, weight_type=QuantType.QInt8,
            )  # fmt: skip
    seconds = _seconds(files)
    return {f.stem.replace("resnet18", "float32"): s for f, s in zip(files, seconds, strict=True)}


def _ops(
    write_float: Callable[[Workload], bytes], write_int8: Callable[[Workload], bytes]
) -> dict[str, Any]:
    """Single ops in float32 and in int8, as an agent writes them for a table."""
    sources: list[bytes] = []
    for workload in OPS.values():
        sources += [write_float(workload), write_int8(workload.with_dtype("int8"))]
    seconds = _seconds(sources)
    return {
        name: {"float_s": a, "int8_s": b, "speedup": a / b}
        for name, a, b in zip(OPS, seconds[::2], seconds[1::2], strict=True)
    }


if __name__ == "__main__":
    main()
