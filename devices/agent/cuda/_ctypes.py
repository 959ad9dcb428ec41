"""A GPU through the driver alone: for hosts that have nothing else. Part of the agent."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from ctypes import byref, c_float, c_uint64, c_void_p
from typing import Any

from latprof.devices.agent.cuda._driver import CudaError, Driver
from latprof.devices.agent.cuda._gpu import Buffer, Event, Gpu, Kernel, Module
from latprof.devices.agent.runtimes._base import NoDevice

__all__ = ["CtypesGpu"]

_MAX_DYNAMIC_SHARED = 8  # CUfunction_attribute
_DEFAULT_SHARED_BYTES = 48 << 10  # more dynamic shared memory than this must be asked for
#: Not a non-blocking stream: copies, which go through the default stream, must wait for its work.
_STREAM_DEFAULT = 0


class CtypesGpu(Gpu):
    """Through libcuda, by ctypes."""

    driven_by = "ctypes"

    def __init__(self, index: int) -> None:
        super().__init__(index)
        device = self._driver.number("cuDeviceGet", index)
        context = self._driver.handle("cuDevicePrimaryCtxRetain", device)
        self._driver.call("cuCtxSetCurrent", context)
        self.stream = self._driver.handle("cuStreamCreate", _STREAM_DEFAULT).value or 0

    def allocate(self, size: int) -> Buffer:
        return _Buffer(self._driver, size)

    def load(self, code: bytes) -> Module:
        try:
            return _Module(self._driver, self._driver.handle("cuModuleLoadData", code), self.stream)
        except CudaError as exc:
            raise NoDevice(self.info.refuses_kernels(exc)) from exc

    def event(self) -> Event:
        return _Event(self._driver, self.stream)

    def wait(self) -> None:
        self._driver.call("cuStreamSynchronize", c_void_p(self.stream))


class _Buffer(Buffer):
    def __init__(self, driver: Driver, size: int) -> None:
        self.size, self._driver = size, driver
        pointer = c_uint64()
        driver.call("cuMemAlloc_v2", byref(pointer), max(size, 1))
        self.pointer = pointer.value
        weakref.finalize(self, driver.call_ignoring_errors, "cuMemFree_v2", pointer.value)

    def upload(self, data: bytes) -> None:
        if len(data) != self.size:
            raise CudaError(f"{len(data)} bytes for a buffer of {self.size}")
        self._driver.call("cuMemcpyHtoD_v2", self.pointer, data, self.size)

    def download(self) -> bytes:
        data = ctypes.create_string_buffer(self.size)
        self._driver.call("cuMemcpyDtoH_v2", data, self.pointer, self.size)
        return data.raw


class _Module(Module):
    def __init__(self, driver: Driver, module: c_void_p, stream: int) -> None:
        self._driver, self._module, self._stream = driver, module, stream

    def kernel(self, name: str, shared_bytes: int = 0) -> Kernel:
        call = self._driver.call
        function = self._driver.handle("cuModuleGetFunction", self._module, name.encode())
        if shared_bytes > _DEFAULT_SHARED_BYTES:
            call("cuFuncSetAttribute", function, _MAX_DYNAMIC_SHARED, shared_bytes)
        stream = c_void_p(self._stream)

        def launch(
            grid: tuple[int, int], block: int, shared_bytes: int, arguments: Sequence[Any]
        ) -> None:
            addresses = [ctypes.addressof(argument) for argument in arguments]
            pointers = (c_void_p * max(1, len(addresses)))(*addresses)
            shape = (*grid, 1, block, 1, 1)
            call("cuLaunchKernel", function, *shape, shared_bytes, stream, pointers, None)

        return launch


class _Event(Event):
    def __init__(self, driver: Driver, stream: int) -> None:
        self._driver, self._stream = driver, c_void_p(stream)
        self._handle = driver.handle("cuEventCreate", 0)

    def record(self) -> None:
        self._driver.call("cuEventRecord", self._handle, self._stream)

    def seconds_since(self, earlier: _Event) -> float:
        self._driver.call("cuEventSynchronize", self._handle)
        ms = c_float()
        self._driver.call("cuEventElapsedTime", byref(ms), earlier._handle, self._handle)
        return ms.value * 1e-3
