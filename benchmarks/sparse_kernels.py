"""Whether XNNPACK skips the zeros of a packed TFLite file, on a CPU for which it has such kernels.

    python -P benchmarks/sparse_kernels.py [--zeros 0.5 0.7 0.9]

XNNPACK has them for Arm, and on x86 for CPUs without AVX alone. QEMU is such a CPU: the file and
its packed form run in it, calls in turns, and their results are compared. An emulator's times say
whether zeros are multiplied, not what that takes on a device. Needs qemu-x86_64 (Debian: qemu-user)
on an x86 machine, and TFLite export.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

sys.path.insert(0, str(Path(__file__).parent))
from _in_turns import medians_in_turns

_CHANNELS = 128
_CALLS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zeros", type=float, nargs="*", default=[0.5, 0.7, 0.9])
    parser.add_argument("--files", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.files:
        print(json.dumps(_run(asked.files)))
        return
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        print(json.dumps({"skipped": "needs qemu-x86_64 (Debian: qemu-user)"}))
        return
    for zeros in asked.zeros:
        with tempfile.TemporaryDirectory() as folder:
            files = _write(Path(folder), zeros)
            here = [sys.executable, "-P", __file__, "--files", *map(str, files)]
            for cpu, before in (("this CPU", []), ("no AVX", [emulator, "-cpu", "Nehalem"])):
                done = subprocess.run([*before, *here], capture_output=True, text=True, check=True)
                found = json.loads(done.stdout)
                sizes = [path.stat().st_size for path in files]
                print(f"{zeros:.0%} zeros, {cpu}: packed {sizes[1] / sizes[0]:.2f} of the bytes,",
                      f"{found['ratio']:.2f} of the time, off by {found['off']:.1e}")  # fmt: skip


def _write(folder: Path, zeros: float) -> tuple[Path, Path]:
    """A network's file, and its packed form. XNNPACK skips zeros from a 3x3 convolution of stride 2
    of three channels to a global average, where more than two thirds of the weights of the 1x1
    convolutions between them are zeros, and computes all others as ever."""
    import torch  # not in the emulator
    from torch import nn

    from latprof.compress import export

    torch.manual_seed(0)
    n = _CHANNELS
    layers = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, n, 1), nn.ReLU()]
    layers += [nn.Conv2d(n, n, 3, 1, 1, groups=n), nn.ReLU(), nn.Conv2d(n, n, 1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, 10))
    for layer in layers:
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            layer.weight.data *= torch.rand_like(layer.weight) >= zeros
    example = (torch.zeros(1, 3, 64, 64),)
    plain, packed = (
        export(network.eval(), example, folder / f"{name}.tflite", pack=name == "packed")
        for name in ("plain", "packed")
    )
    return plain, packed


def _run(files: list[str]) -> dict[str, float]:
    calls, results = {}, []
    for path in files:
        net = Interpreter(path, num_threads=1)
        net.allocate_tensors()
        given = net.get_input_details()[0]
        x = np.random.default_rng(0).standard_normal(given["shape"]).astype(np.float32)
        net.set_tensor(given["index"], x)
        net.invoke()
        calls[path] = net.invoke
        results.append(net.get_tensor(net.get_output_details()[0]["index"]))
    seconds = medians_in_turns(calls, _CALLS)
    plain, packed = (seconds[path] for path in files)
    return {"ratio": packed / plain, "off": float(np.abs(results[1] - results[0]).max())}


if __name__ == "__main__":
    main()
