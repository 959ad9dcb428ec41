"""A GPU through pycuda, where that is installed. Part of the agent.

pycuda has no CUDA graphs (as of 2026.1): those go through the driver, on pycuda's stream.
"""

from __future__ import annotations

import atexit
import ctypes
from collections.abc import Sequence
from typing import Any

import pycuda
import pycuda.driver as cuda

from latprof.devices.agent.cuda._driver import FATAL, CudaError, Driver
from latprof.devices.agent.cuda._gpu import Buffer, Event, Gpu, Kernel, Module
from latprof.devices.agent.runtimes._base import Lost, NoDevice

__all__ = ["PycudaGpu"]

_DEFAULT_SHARED_BYTES = 48 << 10  # more dynamic shared memory than this must be asked for


class PycudaGpu(Gpu):
    """Through pycuda."""

    driven_by = f"pycuda {pycuda.VERSION_TEXT}"

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._errors = _Errors(self._driver)
        with self._errors:
            cuda.init()
            context = cuda.Device(index).retain_primary_context()
            context.push()
            atexit.register(_leave, context)
            # A plain stream: copies, through the default stream, must wait for its work.
            self._stream = cuda.Stream()
        self.stream = int(self._stream.handle)

    def allocate(self, size: int) -> Buffer:
        with self._errors:
            return _Buffer(cuda.mem_alloc(max(size, 1)), size, self._errors)

    def load(self, code: bytes) -> Module:
        try:
            with self._errors:
                return _Module(cuda.module_from_buffer(code), self._stream, self._errors)
        except CudaError as exc:
            raise NoDevice(self.info.refuses_kernels(exc)) from exc

    def event(self) -> Event:
        with self._errors:
            return _Event(cuda.Event(), self._stream, self._errors)

    def wait(self) -> None:
        with self._errors:
            self._stream.synchronize()


def _leave(context: Any) -> None:
    """pycuda aborts a process that ends with a context left, and warns of one not detached."""
    context.pop()
    context.detach()


class _Errors:
    """Turns pycuda's errors into ours: ``with errors: ...``."""

    def __init__(self, driver: Driver) -> None:
        # They hold the driver's text of an error, and not its number.
        self._fatal = tuple(f" failed: {driver.error_text(number)}" for number in FATAL)

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        if isinstance(exc, cuda.Error):
            lost = any(text in str(exc) for text in self._fatal)
            raise (Lost if lost else CudaError)(str(exc)) from exc


class _Buffer(Buffer):
    def __init__(self, memory: Any, size: int, errors: _Errors) -> None:
        self._memory, self.size, self._errors = memory, size, errors
        self.pointer = int(memory)

    def upload(self, data: bytes) -> None:
        if len(data) != self.size:
            raise CudaError(f"{len(data)} bytes for a buffer of {self.size}")
        with self._errors:
            cuda.memcpy_htod(self._memory, data)

    def download(self) -> bytes:
        data = bytearray(self.size)
        with self._errors:
            cuda.memcpy_dtoh(data, self._memory)
        return bytes(data)


class _Module(Module):
    def __init__(self, module: Any, stream: Any, errors: _Errors) -> None:
        self._module, self._stream, self._errors = module, stream, errors

    def kernel(self, name: str, shared_bytes: int = 0) -> Kernel:
        stream, errors = self._stream, self._errors
        with errors:
            function = self._module.get_function(name)
            if shared_bytes > _DEFAULT_SHARED_BYTES:
                attribute = cuda.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES
                function.set_attribute(attribute, shared_bytes)

        def launch(
            grid: tuple[int, int], block: int, shared_bytes: int, arguments: Sequence[Any]
        ) -> None:
            formats, values = zip(*map(_packed, arguments), strict=True) if arguments else ((), ())
            with errors:
                function.prepare(formats)
                function.prepared_async_call(
                    grid, (block, 1, 1), stream, *values, shared_size=shared_bytes
                )

        return launch


def _packed(argument: Any) -> tuple[str, Any]:
    """A ctypes value as pycuda packs it: its letter in the struct module, and the value."""
    if isinstance(argument, ctypes.Structure):
        return f"{ctypes.sizeof(argument)}s", bytes(argument)
    return argument._type_, argument.value or 0


class _Event(Event):
    def __init__(self, event: Any, stream: Any, errors: _Errors) -> None:
        self._event, self._stream, self._errors = event, stream, errors

    def record(self) -> None:
        with self._errors:
            self._event.record(self._stream)

    def seconds_since(self, earlier: _Event) -> float:
        with self._errors:
            self._event.synchronize()
            return float(self._event.time_since(earlier._event)) * 1e-3
