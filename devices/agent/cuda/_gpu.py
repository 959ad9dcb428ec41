"""What the kernels need of a GPU, whichever library drives it. Part of the agent."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from ctypes import byref, c_void_p
from typing import Any, Protocol

from latprof.devices.agent.cuda._driver import Driver, describe_gpu

__all__ = ["Buffer", "Event", "Gpu", "Kernel", "Module"]

_CAPTURE_THREAD_LOCAL = 1  # CUstreamCaptureMode


class Buffer(ABC):
    """Device memory; given back when nobody holds it any more.

    Args:
        pointer: its address on the GPU.
        size: in bytes.
    """

    pointer: int
    size: int

    @abstractmethod
    def upload(self, data: bytes) -> None:
        """Fill it. Raises CudaError unless ``data`` is exactly as long as the buffer."""

    @abstractmethod
    def download(self) -> bytes: ...


class Event(ABC):
    """A moment on the GPU's stream, by the GPU's clock."""

    @abstractmethod
    def record(self) -> None:
        """Enqueue it: it is the moment at which the work before it has ended."""

    @abstractmethod
    def seconds_since(self, earlier: Any) -> float:
        """Seconds from an event of the same GPU to this one; waits for both."""


class Kernel(Protocol):
    """Enqueues one launch; while a graph is captured, records it instead."""

    def __call__(
        self, grid: tuple[int, int], block: int, shared_bytes: int, arguments: Sequence[Any]
    ) -> None:
        """``arguments`` are ctypes values, in the kernel's order; they are copied."""


class Module(ABC):
    """Loaded machine code."""

    @abstractmethod
    def kernel(self, name: str, shared_bytes: int = 0) -> Kernel:
        """A kernel, allowed to use this much dynamic shared memory."""


class Gpu(ABC):
    """One GPU: its primary context (the one torch uses, too), current in this thread, and a stream.

    Laws, tested for every implementation: a buffer holds what was uploaded or written last; work
    is done in the order in which it was enqueued; what ``capture`` records is not done until it is
    replayed, and then each time in the same order; a call that the driver refuses raises CudaError
    and leaves the GPU usable, and one after which the context is lost raises Lost.

    Args:
        index: as nvidia-smi counts.

    Raises:
        NoDevice: no NVIDIA driver, or no such GPU.
    """

    #: The library that makes the calls, with its version.
    driven_by: str
    #: The raw handle of the stream, a CUstream.
    stream: int

    def __init__(self, index: int) -> None:
        self._driver = Driver()
        self.info = describe_gpu(index, self._driver)

    @abstractmethod
    def allocate(self, size: int) -> Buffer: ...

    @abstractmethod
    def load(self, code: bytes) -> Module:
        """Machine code (a cubin). Raises NoDevice where this driver does not load it."""

    @abstractmethod
    def event(self) -> Event: ...

    @abstractmethod
    def wait(self) -> None:
        """Return once all that was enqueued is done."""

    def capture(self, work: Callable[[], object]) -> Callable[[], None]:
        """What ``work`` launches, as a CUDA graph; the result enqueues it all in one call.

        Always through the driver itself, on the stream's raw handle: pycuda has no graphs.
        """
        driver, stream, graph = self._driver, c_void_p(self.stream), c_void_p()
        driver.call("cuStreamBeginCapture_v2", stream, _CAPTURE_THREAD_LOCAL)
        try:
            work()
        finally:
            driver.call("cuStreamEndCapture", stream, byref(graph))
        try:
            executable = driver.handle("cuGraphInstantiateWithFlags", graph, 0)
        finally:
            driver.call("cuGraphDestroy", graph)
        replay = _Replay(driver, executable, stream)
        weakref.finalize(replay, driver.call_ignoring_errors, "cuGraphExecDestroy", executable)
        return replay


class _Replay:
    def __init__(self, driver: Driver, graph: c_void_p, stream: c_void_p) -> None:
        self._driver, self._graph, self._stream = driver, graph, stream

    def __call__(self) -> None:
        self._driver.call("cuGraphLaunch", self._graph, self._stream)
