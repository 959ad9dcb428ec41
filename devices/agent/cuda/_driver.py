"""CUDA's driver API, as much of it as timing needs. Part of the agent: standard library only.

It calls ``libcuda.so.1``, which comes with the driver, so a GPU host needs nothing installed for
it. pycuda offers the same without graphs (as of 2026.1), and must be built on each host against a
toolkit's headers.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from latprof.devices.agent.cuda._library import load_library
from latprof.devices.agent.runtimes._base import Lost, NoDevice

__all__ = ["Buffer", "CudaError", "Event", "Gpu", "GpuInfo", "Stream", "describe_gpu", "gpu_count"]

_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDeviceTotalMem_v2": (POINTER(c_size_t), c_int),
    "cuDeviceGetPCIBusId": (c_char_p, c_int, c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuCtxSetCurrent": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemcpyHtoD_v2": (c_uint64, c_void_p, c_size_t),
    "cuMemcpyDtoH_v2": (c_void_p, c_uint64, c_size_t),
    "cuModuleLoadData": (POINTER(c_void_p), c_char_p),
    "cuModuleGetFunction": (POINTER(c_void_p), c_void_p, c_char_p),
    "cuFuncSetAttribute": (c_void_p, c_int, c_int),
    "cuLaunchKernel": (c_void_p, *[c_uint] * 7, c_void_p, POINTER(c_void_p), c_void_p),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventSynchronize": (c_void_p,),
    "cuEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
}
#: CUdevice_attribute.
_MULTIPROCESSORS, _L2_BYTES, _MAJOR, _MINOR, _SHARED_BYTES = 16, 38, 75, 76, 97
_MAX_DYNAMIC_SHARED = 8  # CUfunction_attribute
_UNASKED_SHARED_BYTES = 48 << 10  # more dynamic shared memory than this must be asked for
#: Not a non-blocking stream: copies, which go through the default stream, must wait for its work.
_STREAM_DEFAULT = 0
_CAPTURE_THREAD_LOCAL = 1
#: After these the context serves no more; the process must end.
_FATAL = {214, 700, 702, 710, 714, 715, 716, 717, 718, 719}


class CudaError(Exception):
    """The driver refused a call: ``cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY (out of memory)``."""


class _Driver:
    """The functions of ``_SIGNATURES``, each raising CudaError unless it succeeds."""

    def __init__(self) -> None:
        # So that cuda:N is the N that nvidia-smi shows, not the N-th fastest.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        library = load_library("cuda", ("1",))
        if library is None:
            raise NoDevice("no NVIDIA driver: libcuda.so.1 does not load; install NVIDIA's driver")
        self._functions: dict[str, Callable[..., int]] = {}
        for name, signature in _SIGNATURES.items():
            try:
                function = getattr(library, name)
            except AttributeError as exc:
                raise NoDevice(
                    f"the NVIDIA driver is too old: it has no {name}; expected 470 or later"
                ) from exc
            function.argtypes, function.restype = signature, c_int
            self._functions[name] = function
        result = self._functions["cuInit"](0)
        if result:
            raise NoDevice(
                f"the NVIDIA driver does not start: {self._text(result)}; does nvidia-smi run?"
            )

    def call(self, name: str, *arguments: Any) -> None:
        result = self._functions[name](*arguments)
        if result in _FATAL:
            raise Lost(f"{name}: {self._text(result)}")
        if result:
            raise CudaError(f"{name}: {self._text(result)}")

    def quietly(self, name: str, *arguments: Any) -> None:
        """For giving back: at exit the driver may have gone first."""
        self._functions[name](*arguments)

    def _text(self, result: int) -> str:
        name, what = c_char_p(), c_char_p()
        self._functions["cuGetErrorName"](result, byref(name))
        self._functions["cuGetErrorString"](result, byref(what))
        return f"{(name.value or b'?').decode()} ({(what.value or b'?').decode()})"

    def handle(self, name: str, *arguments: Any) -> c_void_p:
        """What a call makes, where its first argument is where to put it."""
        made = c_void_p()
        self.call(name, byref(made), *arguments)
        return made

    def number(self, name: str, *arguments: Any) -> int:
        value = c_int()
        self.call(name, byref(value), *arguments)
        return value.value

    def text(self, name: str, device: int) -> str:
        buffer = ctypes.create_string_buffer(256)
        self.call(name, buffer, len(buffer), device)
        return buffer.value.decode()


@dataclass(frozen=True)
class GpuInfo:
    """A GPU as the driver describes it."""

    index: int
    name: str
    capability: tuple[int, int]
    multiprocessors: int
    l2_bytes: int
    shared_bytes: int
    memory_bytes: int
    pci_id: str
    driver_cuda: str


def gpu_count() -> int:
    """GPUs here. Raises NoDevice where there is no driver."""
    return _Driver().number("cuDeviceGetCount")


def describe_gpu(index: int) -> GpuInfo:
    """The GPU ``cuda:index``; makes no context. Raises NoDevice where there is none."""
    return _describe(_Driver(), index)


def _describe(driver: _Driver, index: int) -> GpuInfo:
    count = driver.number("cuDeviceGetCount")
    if not 0 <= index < count:
        known = ", ".join(f"cuda:{i}" for i in range(count)) or "no GPU"
        raise NoDevice(f"there is no cuda:{index} here; the driver sees {known}")
    device = driver.number("cuDeviceGet", index)
    memory = c_size_t()
    driver.call("cuDeviceTotalMem_v2", byref(memory), device)
    version = driver.number("cuDriverGetVersion")

    def attribute(which: int) -> int:
        return driver.number("cuDeviceGetAttribute", which, device)

    return GpuInfo(
        index=index,
        name=driver.text("cuDeviceGetName", device),
        capability=(attribute(_MAJOR), attribute(_MINOR)),
        multiprocessors=attribute(_MULTIPROCESSORS),
        l2_bytes=attribute(_L2_BYTES),
        shared_bytes=attribute(_SHARED_BYTES),
        memory_bytes=memory.value,
        pci_id=driver.text("cuDeviceGetPCIBusId", device),
        driver_cuda=f"{version // 1000}.{version % 1000 // 10}",
    )


class Buffer:
    """Device memory; given back when nobody holds it any more."""

    def __init__(self, driver: _Driver, size: int) -> None:
        self.size, self._driver = size, driver
        pointer = c_uint64()
        driver.call("cuMemAlloc_v2", byref(pointer), max(size, 1))
        self.pointer = pointer.value
        weakref.finalize(self, driver.quietly, "cuMemFree_v2", pointer.value)

    def upload(self, data: bytes) -> None:
        if len(data) != self.size:
            raise CudaError(f"{len(data)} bytes for a buffer of {self.size}")
        self._driver.call("cuMemcpyHtoD_v2", self.pointer, data, self.size)

    def download(self) -> bytes:
        data = ctypes.create_string_buffer(self.size)
        self._driver.call("cuMemcpyDtoH_v2", data, self.pointer, self.size)
        return data.raw


class Gpu:
    """One GPU, its primary context current in this thread (the one torch uses, too)."""

    def __init__(self, index: int) -> None:
        self._driver = _Driver()
        self.info = _describe(self._driver, index)
        device = self._driver.number("cuDeviceGet", index)
        context = self._driver.handle("cuDevicePrimaryCtxRetain", device)
        self._driver.call("cuCtxSetCurrent", context)
        self.stream = Stream(self._driver)

    def allocate(self, size: int) -> Buffer:
        return Buffer(self._driver, size)

    def load(self, code: bytes) -> c_void_p:
        """Machine code (a cubin) as a module."""
        try:
            return self._driver.handle("cuModuleLoadData", code)
        except CudaError as exc:
            raise NoDevice(
                f"the driver (for CUDA {self.info.driver_cuda}) does not load the kernels: {exc}; "
                "is the compiler newer than the driver?"
            ) from exc

    def function(self, module: c_void_p, name: str, shared_bytes: int = 0) -> c_void_p:
        """A kernel, allowed to use this much dynamic shared memory."""
        function = self._driver.handle("cuModuleGetFunction", module, name.encode())
        if shared_bytes > _UNASKED_SHARED_BYTES:
            self._driver.call("cuFuncSetAttribute", function, _MAX_DYNAMIC_SHARED, shared_bytes)
        return function


class Stream:
    """Work in order. ``launch`` enqueues, or records while a graph is being captured."""

    def __init__(self, driver: _Driver) -> None:
        self._driver = driver
        self.handle = driver.handle("cuStreamCreate", _STREAM_DEFAULT)

    def launch(
        self,
        function: c_void_p,
        grid: tuple[int, int],
        block: int,
        shared_bytes: int,
        arguments: Sequence[Any],
    ) -> None:
        """``arguments`` are ctypes values, in the kernel's order."""
        pointers = (c_void_p * max(1, len(arguments)))(*[ctypes.addressof(a) for a in arguments])
        shape = (*grid, 1, block, 1, 1)
        self._driver.call(
            "cuLaunchKernel", function, *shape, shared_bytes, self.handle, pointers, None
        )

    def capture(self, work: Callable[[], object]) -> Callable[[], None]:
        """What ``work`` launches, as a graph; the result enqueues it all in one call."""
        call = self._driver.call
        graph = c_void_p()
        call("cuStreamBeginCapture_v2", self.handle, _CAPTURE_THREAD_LOCAL)
        try:
            work()
        finally:
            call("cuStreamEndCapture", self.handle, byref(graph))
        try:
            made = self._driver.handle("cuGraphInstantiateWithFlags", graph, 0)
        finally:
            call("cuGraphDestroy", graph)
        replay = _Replay(self._driver, made, self.handle)
        weakref.finalize(replay, self._driver.quietly, "cuGraphExecDestroy", made)
        return replay

    def wait(self) -> None:
        self._driver.call("cuStreamSynchronize", self.handle)

    def event(self) -> Event:
        return Event(self._driver)


class _Replay:
    def __init__(self, driver: _Driver, graph: c_void_p, stream: c_void_p) -> None:
        self._driver, self._graph, self._stream = driver, graph, stream

    def __call__(self) -> None:
        self._driver.call("cuGraphLaunch", self._graph, self._stream)


class Event:
    """A moment on a stream, by the GPU's clock."""

    def __init__(self, driver: _Driver) -> None:
        self._driver, self._handle = driver, driver.handle("cuEventCreate", 0)

    def record(self, stream: c_void_p) -> None:
        self._driver.call("cuEventRecord", self._handle, stream)

    def seconds_since(self, earlier: Event) -> float:
        """Waits for both."""
        self._driver.call("cuEventSynchronize", self._handle)
        ms = c_float()
        self._driver.call("cuEventElapsedTime", byref(ms), earlier._handle, self._handle)
        return ms.value * 1e-3
