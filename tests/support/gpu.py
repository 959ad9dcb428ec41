"""GPU hosts without a GPU: a driver, a compiler and cuBLAS that run kernels on the host."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from latprof.devices.agent._protocol import decode_arrays, encode_arrays
from latprof.devices.remote._bootstrap import BOOTSTRAP
from latprof.devices.remote._client import AgentOptions, AgentProcess
from latprof.workloads import Conv2d, MatMul, Workload

Array = npt.NDArray[np.float64]

#: Whether pycuda is here; scripts/pycuda builds it.
PYCUDA = importlib.util.find_spec("pycuda") is not None
#: What may drive a GPU, for parametrize.
DRIVERS = [
    "ctypes",
    pytest.param(
        "pycuda",
        marks=pytest.mark.skipif(
            not PYCUDA, reason="needs pycuda, which scripts/pycuda builds with a CUDA toolkit"
        ),
    ),
]
STAND_IN = Path(__file__).parent / "libcuda"
SHAPES: list[Workload] = [
    MatMul(1, 20, 7),
    MatMul(1, 1, 1),
    MatMul(33, 70, 65),
    MatMul(64, 64, 128),
    MatMul(130, 41, 259),  # large tiles, unaligned
    MatMul(260, 40, 264),  # large tiles, aligned
    MatMul(9, 24, 40, batch=3),
    MatMul(37, 19, 50, batch=3, weights=False),
    MatMul(32, 48, 72, batch=2, weights=False),
    Conv2d(7, 7, 13, 10),
    Conv2d(8, 4, 16, 24, batch=2),
    Conv2d(9, 7, 17, 33, stride=2, batch=2),
    Conv2d(8, 8, 24, 40, stride=2),
    Conv2d(23, 21, 40, 70, batch=2),
    Conv2d(8, 8, 12, 12, kernel=3, groups=12),
    Conv2d(9, 7, 16, 16, kernel=5, stride=2, groups=16, batch=2),
    Conv2d(40, 37, 3, 3, kernel=3, groups=3),
    Conv2d(9, 9, 8, 8, kernel=3, dilation=2, groups=8),
    Conv2d(5, 5, 7, 7, kernel=7, groups=7),
]

COMMAND = (sys.executable, "-P", "-c", BOOTSTRAP)


def build_stand_in(folder: Path) -> dict[str, str]:
    """The libraries and the compiler in ``folder``; returns the environment that finds them."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++, to run kernels on the host")
    for name in ("emulator.h", "intrinsics.cuh", "nvcc.py"):
        shutil.copy(STAND_IN / name, folder)
    library = folder / "libcuda.so.1"
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-o", library]
    command += [STAND_IN / "libcuda.cpp", STAND_IN / "unsupported.cpp", "-ldl"]
    subprocess.run([*command, f"-Wl,-soname,{library.name}"], check=True)
    (folder / "libcublas.so.12").symlink_to(library.name)
    script = folder / "bin" / "nvcc"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {folder}/nvcc.py "$@"\n')
    script.chmod(0o755)
    return {
        "LD_LIBRARY_PATH": str(folder),
        "PATH": f"{script.parent}:/usr/bin:/bin",
        "CUDA_HOME": "/nowhere",
    }


class Kernels:
    """One agent on the stand-in, asked for results."""

    def __init__(self, **settings: str) -> None:
        options = AgentOptions(
            "cuda:0", COMMAND, "cuda", gpu=0, knobs={"affinity": "none"}, settings=settings
        )
        self._agent = AgentProcess(options)
        self.hello = self._agent.hello.fields
        self.layout = settings.get("layout", "nchw")
        self.biased = settings.get("kernels", "own") == "own"

    def run(self, workload: Workload, inputs: dict[str, Array]) -> Array:
        answer = self._agent.ask(
            "run", workload=workload.to_dict(), inputs=encode_arrays(dict(inputs))
        )
        return decode_arrays(answer.mapping("outputs"))["0"].astype(np.float64)

    def close(self) -> None:
        self._agent.kill()


def random_inputs(w: Workload, layout: str, seed: int) -> dict[str, Array]:
    """Fresh normals, rounded to the workload's dtype."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]]
    match w:
        case MatMul(weights=True):
            shapes = {"x": (w.batch, w.m, w.k), "weight": (w.k, w.n), "bias": (w.n,)}
        case MatMul():
            shapes = {"a": (w.batch, w.m, w.k), "b": (w.batch, w.k, w.n)}
        case Conv2d():
            first = layout == "nchw"
            k, one = w.kernel, (w.c_out, w.c_in) if first else (w.c_in, w.c_out)
            deep = (w.c_out, k, k) if first else (k, k, w.c_out)
            x = (w.c_in, w.h, w.w) if first else (w.h, w.w, w.c_in)
            weight = deep if w.depthwise else one
            shapes = {"x": (w.batch, *x), "weight": weight, "bias": (w.c_out,)}
        case _:
            raise AssertionError(w)
    return {
        name: rng.standard_normal(shape).astype(w.dtype).astype(np.float64)
        for name, shape in shapes.items()
    }


def expected(w: Workload, inputs: dict[str, Array], layout: str, *, biased: bool) -> Array:
    """The op in float64, by numpy alone."""
    bias = inputs["bias"] if biased and "bias" in inputs else np.zeros(1)
    match w:
        case MatMul(weights=True):
            return inputs["x"] @ inputs["weight"] + bias
        case MatMul():
            return inputs["a"] @ inputs["b"]
        case Conv2d():
            x = inputs["x"] if layout == "nhwc" else inputs["x"].transpose(0, 2, 3, 1)
            out = _convolve(w, x, inputs["weight"], layout) + bias
            return out if layout == "nhwc" else out.transpose(0, 3, 1, 2)
    raise AssertionError(w)


def _convolve(w: Conv2d, x: Array, weight: Array, layout: str) -> Array:
    """x (b, h, w, c); the kernel's taps one by one."""
    p = w.padding
    padded = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
    out = np.zeros((w.batch, w.h_out, w.w_out, w.c_out))
    for ky in range(w.kernel):
        for kx in range(w.kernel):
            y0, x0 = ky * w.dilation, kx * w.dilation
            taken = padded[
                :,
                y0 : y0 + (w.h_out - 1) * w.stride + 1 : w.stride,
                x0 : x0 + (w.w_out - 1) * w.stride + 1 : w.stride,
            ]
            if w.depthwise:
                out += taken * (weight[:, ky, kx] if layout == "nchw" else weight[ky, kx])
            else:
                out += taken @ (weight.T if layout == "nchw" else weight)
    return out


def label(workload: Workload) -> str:
    return "-".join(str(v) for v in workload.to_dict().values())


def agrees(kernels: Kernels, workload: Workload, seed: int) -> None:
    inputs = random_inputs(workload, kernels.layout, seed)
    out = kernels.run(workload, inputs)
    truth = expected(workload, inputs, kernels.layout, biased=kernels.biased)
    assert out.shape == truth.shape
    step = {"float32": 2.0**-22, "float16": 2.0**-11}[workload.dtype]
    # Rounding of the result, and of sums kept in float32.
    scale = np.sqrt(np.mean(truth**2))
    np.testing.assert_allclose(out, truth, rtol=2 * step, atol=2**-20 * scale * 8)
