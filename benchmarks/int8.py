"""int8 through ONNX Runtime on this CPU, one thread: latency and accuracy beside float32.

    python -P benchmarks/int8.py [--data DIR]

MobileNetV3-Small and ResNet-18 trained on FashionMNIST (in the cache after the first run), through
latprof.compress.export_int8, calibrated on 128 training images; formats of ResNet-18's file; and
single ops. Everything of one comparison is timed in interleaved rounds.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor, nn

from latprof._workload import Conv2d, MatMul, Workload, workload_from_dict
from latprof.compress import Int8Warning, Recipe, TensorBatches, export, export_int8, train
from latprof.devices import Device, ScheduleSettings, measure_files, open_device, profile
from latprof.zoo import fashion_mnist, mobilenet_v3_small, resnet18
from latprof.zoo._fashion_mnist import cache_dir

CALIBRATION = 128
#: Images of training and the recipe; MobileNetV3-Small is the demo's own.
NETWORKS = {
    "mobilenet_v3_small": (lambda: mobilenet_v3_small(), 60_000, Recipe(5)),
    "resnet18": (lambda: resnet18(size=28, in_channels=1), 12_000, Recipe(3, lr=2e-3)),
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
        "versions": {p: version(p) for p in ("latprof", "onnxruntime", "torch")},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, open_device("local", threads=1) as device:
        result["target"] = str(device.target)
        result["networks"] = {
            name: _network(name, Path(folder), device, given.data) for name in NETWORKS
        }
        result["formats"] = _formats(Path(folder), device, given.data)
        result["ops"] = _ops(device)
    print(json.dumps(result))


def _network(name: str, folder: Path, device: Device, data: Path | None) -> dict[str, Any]:
    build, images, recipe = NETWORKS[name]
    batches, (test, labels) = fashion_mnist(data, images=images)
    model, example = build()
    _train(name, model, batches, recipe)
    tried: dict[str, float] = {}

    def measure(files: Sequence[Path]) -> list[float]:
        seconds = _seconds(device, files)
        tried.update({f.stem: s for f, s in zip(files, seconds, strict=True)})
        return seconds

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", Int8Warning)
        found = export_int8(
            model, example, folder / f"{name}.int8.onnx", [batches.images[:CALIBRATION]],
            measure=measure,
        )  # fmt: skip
    original = export(model, example, folder / f"{name}.onnx")
    accuracy = {
        "float": _accuracy(original, test, labels),
        "int8": _accuracy(found.path, test, labels),
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


def _train(name: str, model: nn.Module, batches: TensorBatches, recipe: Recipe) -> None:
    path = cache_dir() / f"{name}-{len(batches.images)}-{recipe.epochs}x{recipe.lr:g}.pt"
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
        model.eval()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    train(model, batches, recipe, checkpoint=path.with_suffix(".checkpoint"))
    torch.save(model.state_dict(), path)


def _seconds(device: Device, files: Sequence[Path]) -> list[float]:
    timings = measure_files(device, files, settings=ScheduleSettings(round_s=0.1))
    for file, timing in zip(files, timings, strict=True):
        print(f"{file.name} {1e6 * timing.latency_s:.1f} us {timing.status}", file=sys.stderr)
    return [t.latency_s for t in timings]


def _accuracy(path: Path, images: Tensor, labels: Tensor) -> float:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(str(path), options)
    name = session.get_inputs()[0].name
    said = [session.run(None, {name: x[None]})[0].argmax() for x in images.numpy()]
    return float((np.array(said) == labels.numpy()).mean())


class _Reader(CalibrationDataReader):
    def __init__(self, name: str, images: Tensor) -> None:
        self._feeds = iter([{name: x[None].numpy()} for x in images])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def _formats(folder: Path, device: Device, data: Path | None) -> dict[str, float]:
    """Seconds of ResNet-18 in both formats of ONNX Runtime, with each type of activations."""
    original = folder / "resnet18.onnx"
    name = ort.InferenceSession(str(original)).get_inputs()[0].name
    images = fashion_mnist(data, images=64)[0].images
    files = [original]
    for form in (QuantFormat.QDQ, QuantFormat.QOperator):
        for kind in (QuantType.QUInt8, QuantType.QInt8):
            files.append(folder / f"{form.name} {kind.name[1:]}.onnx")
            quantize_static(
                original, files[-1], _Reader(name, images), quant_format=form, per_channel=True,
                activation_type=kind, weight_type=QuantType.QInt8,
            )  # fmt: skip
    seconds = _seconds(device, files)
    return {f.stem.replace("resnet18", "float32"): s for f, s in zip(files, seconds, strict=True)}


def _ops(device: Device) -> dict[str, Any]:
    """Single ops in float32 and in int8 (U8xS8), as the tables have them."""
    pairs = {n: (w, workload_from_dict({**w.to_dict(), "dtype": "int8"})) for n, w in OPS.items()}
    rows = {m.workload: m for m in profile(device, [w for pair in pairs.values() for w in pair])}
    return {
        name: {
            "float_s": rows[a].latency_s, "int8_s": rows[b].latency_s,
            "speedup": rows[a].latency_s / rows[b].latency_s,
            "status": [rows[a].status, rows[b].status],
        }
        for name, (a, b) in pairs.items()
    }  # fmt: skip


if __name__ == "__main__":
    main()
