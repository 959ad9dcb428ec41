"""The project's own CUDA kernels, and cuBLAS beside them. Part of the agent."""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from latprof.cuda_src import SOURCES
from latprof.devices.agent._clock import Timed
from latprof.devices.agent.cuda._compiler import choose, find_compilers
from latprof.devices.agent.cuda._cublas import Cublas
from latprof.devices.agent.cuda._driver import GpuInfo
from latprof.devices.agent.cuda._gpu import Buffer, Gpu, Kernel
from latprof.devices.agent.cuda._kernels import FILES, SHARED_BYTES, plan_launch
from latprof.devices.agent.cuda._open import open_gpu
from latprof.devices.agent.cuda._products import Arrays, product_of
from latprof.devices.agent.cuda._replay import (
    EVENT_RESOLUTION_S,
    Replayer,
    flush_bytes,
    time_replays,
    warm_up,
)
from latprof.devices.agent.cuda._settings import GpuSettings
from latprof.devices.agent.runtimes._base import Array, NoDevice, Prepared, Refused, Runtime
from latprof.workloads import DTYPE_BYTES, Workload

__all__ = ["CudaRuntime"]

#: Enough for every algorithm on every card so far (NVIDIA's advice for Hopper).
_CUBLAS_WORKSPACE_BYTES = 32 << 20
_FILL_THREADS = 256
_BLOCKS_PER_MULTIPROCESSOR = 8


class CudaRuntime(Runtime):
    """Matmuls, 1x1 and depthwise convolutions, each one kernel in a CUDA graph.

    Args:
        gpu: which.
        carry: of an earlier process here: its machine code, so that only the first one compiles.
        kernels: ``own``, or ``cublas``: its matrix products, without bias.
        precision, cache, layout: see GpuSettings; ``tf32`` is for cuBLAS alone.
        driver: the library that makes the calls, as open_gpu takes it. It is no part of the target:
            the same graphs are replayed.
    """

    def __init__(
        self,
        gpu: GpuInfo,
        carry: str = "",
        kernels: str = "own",
        precision: str = "float32",
        cache: str = "hot",
        layout: str = "nchw",
        driver: str = "auto",
    ) -> None:
        self._settings = GpuSettings(precision, cache, layout)
        self._settings.forbid_tf32()
        if precision == "tf32" and kernels == "own":
            raise Refused("precision is 'tf32'; the project's kernels do float32 and float16")
        self._gpu = open_gpu(gpu.index, driver)
        if gpu.shared_bytes < SHARED_BYTES:
            raise NoDevice(f"{gpu.name} gives a block {gpu.shared_bytes} bytes of shared memory; "
                           f"latprof's kernels need {SHARED_BYTES}")  # fmt: skip
        code = json.loads(carry) if carry else _compile(gpu)
        self.carry = json.dumps(code)
        self._functions = _Functions(self._gpu, code["cubins"])
        self._replayer = _Graphs(self._gpu, self._functions)
        self._cublas = None
        if kernels == "cublas":
            self._workspace = self._gpu.allocate(_CUBLAS_WORKSPACE_BYTES)
            place = (self._workspace.pointer, self._workspace.size)
            self._cublas = Cublas(self._gpu.stream, precision, place)
        self.version = f"{_digest()} ({code['compiler']})"
        self.delegate = f"cuBLAS {self._cublas.version}" if self._cublas else "own kernels"
        self.precision = precision
        self.resolution_s = EVENT_RESOLUTION_S
        self.environment = {"gpu_driven_by": self._gpu.driven_by}
        self.settings = {"kernels": kernels, **self._settings.to_dict()}
        warm_up(self._replayer)

    def least(self) -> Prepared:
        """A kernel that does nothing, timed hot: what a graph takes to go from one to the next."""
        return _Null(self)

    def launch_null(self) -> None:
        self._functions.get("null_kernel")((1, 1), 32, 0, ())

    def workload(self, workload: Workload) -> Prepared:
        workload = self._settings.workload(workload)
        layout = self._settings.layout
        if self._cublas is not None:
            cublas, product = self._cublas, product_of(workload, layout)
            arrays, gemm = product.arrays, product.gemm

            def bind(pointers: Mapping[str, int]) -> Callable[[], None]:
                for name, pointer in pointers.items():
                    setattr(gemm, name, pointer)
                return cublas.product(gemm, product.z, arrays.dtype)

            return _Kernel(self, arrays, bind)
        launch = plan_launch(
            workload, layout=layout, multiprocessors=self._gpu.info.multiprocessors
        )
        kernel = self._functions.get(launch.kernel, launch.shared_bytes)

        def fix(pointers: Mapping[str, int]) -> Callable[[], None]:
            for name, pointer in pointers.items():
                setattr(launch.argument, name, pointer)
            return lambda: kernel(
                launch.grid, launch.block, launch.shared_bytes, (launch.argument,)
            )

        return _Kernel(self, launch.arrays, fix)

    def model(self, source: str | bytes) -> Prepared:
        raise Refused("cuda runs single ops; --runtime torch or onnxruntime run whole models")

    def buffer(self, dtype: str, shape: tuple[int, ...], seed: int, scale: float) -> Buffer:
        """Device memory holding uniform random values in [-scale, scale)."""
        count = int(np.prod(shape))
        buffer = self._gpu.allocate(count * DTYPE_BYTES[dtype])
        self._functions.fill(buffer, dtype, count, seed, scale)
        return buffer

    def time(self, work: Callable[[], object], measure_s: float, *, hot: bool = False) -> Timed:
        cold = self._settings.cold and not hot
        samples_s, cost_s = time_replays(self._replayer, work, measure_s=measure_s, cold=cold)
        return Timed(samples_s, 1.0, cost_s)  # a GPU shared with others shows in the sentinel

    def wait(self) -> None:
        self._gpu.wait()


class _Kernel(Prepared):
    """One kernel with its arrays; ``bind`` makes the call from where they lie."""

    def __init__(
        self,
        runtime: CudaRuntime,
        arrays: Arrays,
        bind: Callable[[Mapping[str, int]], Callable[[], None]],
    ) -> None:
        self._runtime, self._arrays = runtime, arrays
        weights_scale = (3 / arrays.fan_in) ** 0.5  # uniform values of variance 1 / fan_in
        self._inputs = {
            field: runtime.buffer(
                arrays.dtype, shape, seed, weights_scale if name == "weight" else 1.0
            )
            for seed, (field, (name, shape)) in enumerate(arrays.inputs.items())
        }
        field, shape = arrays.out
        self._out = runtime.buffer(arrays.dtype, shape, len(self._inputs), 1.0)
        held = {**self._inputs, field: self._out}
        self.call = bind({name: buffer.pointer for name, buffer in held.items()})

    def time(self, *, measure_s: float, resolution_s: float) -> Timed:
        return self._runtime.time(self.call, measure_s)

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        fields = {name: (field, shape) for field, (name, shape) in self._arrays.inputs.items()}
        if sorted(inputs) != sorted(fields):
            raise Refused(f"inputs are {sorted(inputs)}; the op takes {sorted(fields)}")
        for name, (field, shape) in fields.items():
            if inputs[name].shape != shape:
                raise Refused(f"{name} is {inputs[name].shape}; expected {shape}")
            self._inputs[field].upload(inputs[name].astype(self._arrays.dtype).tobytes())
        poison = np.full(self._arrays.out[1], np.nan, self._arrays.dtype)
        self._out.upload(poison.tobytes())  # what the kernel does not write shows
        self.call()
        self._runtime.wait()
        out = np.frombuffer(self._out.download(), self._arrays.dtype)
        return [out.reshape(self._arrays.out[1])]


class _Null(Prepared):
    def __init__(self, runtime: CudaRuntime) -> None:
        self._runtime = runtime
        self.call = runtime.launch_null

    def time(self, *, measure_s: float, resolution_s: float) -> Timed:
        return self._runtime.time(self.call, measure_s, hot=True)

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        raise Refused("a null kernel computes nothing")


class _Functions:
    """Kernels by name, out of the modules that hold them."""

    def __init__(self, gpu: Gpu, cubins: Mapping[str, str]) -> None:
        self._gpu = gpu
        self._modules = {
            file.removesuffix(".cu"): gpu.load(base64.b64decode(text))
            for file, text in cubins.items()
        }
        self._kernels: dict[str, Kernel] = {}

    def get(self, name: str, shared_bytes: int = 0) -> Kernel:
        if name not in self._kernels:
            module = next((m for m in self._modules if name.startswith(m)), "utility")
            self._kernels[name] = self._modules[module].kernel(name, shared_bytes)
        return self._kernels[name]

    def spread(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Enqueue a kernel that strides over its data with the whole GPU."""
        grid = (self._gpu.info.multiprocessors * _BLOCKS_PER_MULTIPROCESSOR, 1)
        self.get(name)(grid, _FILL_THREADS, 0, arguments)

    def fill(self, buffer: Buffer, dtype: str, count: int, seed: int, scale: float) -> None:
        name = {"float32": "fill_f32", "float16": "fill_f16"}[dtype]
        to, n = ctypes.c_void_p(buffer.pointer), ctypes.c_longlong(count)
        self.spread(name, (to, n, ctypes.c_uint(seed), ctypes.c_float(scale)))


class _Graphs(Replayer):
    """CUDA graphs and events on one stream, and the L2 flush."""

    def __init__(self, gpu: Gpu, functions: _Functions) -> None:
        self._gpu, self._functions = gpu, functions
        self._before, self._after = gpu.event(), gpu.event()
        self._flushed: Buffer | None = None

    def capture(self, work: Callable[[], object]) -> Callable[[], object]:
        self._flush_buffer()  # nothing may be allocated while a graph is captured
        return self._gpu.capture(work)

    def elapsed_s(self, replay: Callable[[], object]) -> float:
        self._before.record()
        replay()
        self._after.record()
        return self._after.seconds_since(self._before)

    def flush(self) -> None:
        buffer = self._flush_buffer()
        start, words = ctypes.c_void_p(buffer.pointer), ctypes.c_longlong(buffer.size // 16)
        self._functions.spread("flush_l2", (start, words, start))

    def _flush_buffer(self) -> Buffer:
        if self._flushed is None:
            size = flush_bytes(self._gpu.info.l2_bytes)
            self._flushed = self._gpu.allocate(size)
            self._functions.fill(self._flushed, "float32", size // 4, 0, 1.0)
            self._gpu.wait()
        return self._flushed


def _compile(gpu: GpuInfo) -> dict[str, Any]:
    compiler, architecture = choose(find_compilers(), gpu.capability, gpu.name)
    with ThreadPoolExecutor() as pool:
        done = pool.map(lambda file: compiler.compile(SOURCES, file, architecture), FILES)
        cubins = {
            file: base64.b64encode(code).decode() for file, code in zip(FILES, done, strict=True)
        }
    return {"compiler": compiler.name, "cubins": cubins}


def _digest() -> str:
    """Kernels that change are another target."""
    text = "".join(f"{name}\n{SOURCES[name]}" for name in sorted(SOURCES))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
