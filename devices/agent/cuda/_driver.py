"""CUDA's driver API, as much of it as timing needs. Part of the agent: standard library only.

It calls ``libcuda.so.1``, which comes with the driver, so a GPU host needs nothing installed for
it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from latprof.devices.agent.cuda._library import load_library
from latprof.devices.agent.runtimes._base import Lost, NoDevice

__all__ = ["FATAL", "CudaError", "Driver", "GpuInfo", "describe_gpu", "gpu_count"]

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
#: After these errors the context serves no more; the process must end.
FATAL = {214, 700, 702, 710, 714, 715, 716, 717, 718, 719}


class CudaError(Exception):
    """The driver refused a call: ``cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY (out of memory)``."""


class Driver:
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
                f"the NVIDIA driver does not start: {self.describe(result)}; does nvidia-smi run?"
            )

    def call(self, name: str, *arguments: Any) -> None:
        result = self._functions[name](*arguments)
        if result in FATAL:
            raise Lost(f"{name}: {self.describe(result)}")
        if result:
            raise CudaError(f"{name}: {self.describe(result)}")

    def call_ignoring_errors(self, name: str, *arguments: Any) -> None:
        """For giving back: at exit the driver may have gone first."""
        self._functions[name](*arguments)

    def describe(self, result: int) -> str:
        """An error's name and text, by its number."""
        name = c_char_p()
        self._functions["cuGetErrorName"](result, byref(name))
        return f"{(name.value or b'?').decode()} ({self.error_text(result)})"

    def error_text(self, result: int) -> str:
        text = c_char_p()
        self._functions["cuGetErrorString"](result, byref(text))
        return (text.value or b"?").decode()

    def handle(self, name: str, *arguments: Any) -> c_void_p:
        """What a call creates, where its first argument is where to put it."""
        created = c_void_p()
        self.call(name, byref(created), *arguments)
        return created

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

    def refuses_kernels(self, why: CudaError) -> str:
        """The message where machine code does not load."""
        return (
            f"the driver (for CUDA {self.driver_cuda}) does not load the kernels: {why}; "
            "is the compiler newer than the driver?"
        )


def gpu_count() -> int:
    """GPUs here. Raises NoDevice where there is no driver."""
    return Driver().number("cuDeviceGetCount")


def describe_gpu(index: int, driver: Driver | None = None) -> GpuInfo:
    """The GPU ``cuda:index``; makes no context. Raises NoDevice where there is none."""
    driver = driver or Driver()
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
