"""What every runtime is, on the device host. Part of the agent: standard library and numpy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from latprof.devices.agent._clock import Timed, time_calls
from latprof.workloads import Elementwise, Workload

__all__ = ["Array", "Lost", "NoDevice", "Prepared", "Refused", "Runtime", "fill", "pack_codes"]

Array = npt.NDArray[Any]


class Refused(Exception):
    """The runtime will not run this job; the message is one line."""


class NoDevice(Exception):
    """The runtime cannot be used here: no such device, driver or compiler. One line."""


class Lost(BaseException):
    """The device serves this process no more: no job's fault, so the process must end."""


class Prepared(ABC):
    """A loaded model, with inputs bound."""

    #: One inference, at the least overhead the runtime allows.
    call: Callable[[], object]

    def time(self, *, measure_s: float, resolution_s: float) -> Timed:
        """Time ``call`` for about ``measure_s``."""
        return time_calls(self.call, measure_s=measure_s, resolution_s=resolution_s)

    @abstractmethod
    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """One inference on ``inputs`` by name; outputs in the model's order."""


class Runtime(ABC):
    """Loads models and workloads. Laws, tested for every runtime:

    ``workload`` takes every kind of latprof.workloads, or raises Refused; what it loads
    computes that op at that shape.

    ``model`` takes the runtime's own file format, as a path or as bytes.
    """

    #: As the runtime reports it.
    version: str
    #: Execution provider or delegate.
    delegate: str
    #: Settings that change latency, for the target.
    settings: dict[str, str]
    #: What the arithmetic is done in.
    precision: str = "float32"
    #: What spares the next process of this runtime work that this one did; text.
    carry: str = ""
    #: Provenance: what changes no latency and is worth knowing.
    environment: Mapping[str, str] = MappingProxyType({})
    #: The smallest step of the clock that times it, where that is not the host's.
    resolution_s: float | None = None

    def least(self) -> Prepared:
        """What costs no more than a call itself."""
        return self.workload(Elementwise("relu", 1, 1, 1))

    @abstractmethod
    def workload(self, workload: Workload) -> Prepared: ...

    @abstractmethod
    def model(self, source: str | bytes) -> Prepared: ...

    def watch_arena(self) -> Callable[[], int]:
        """Begin to watch; gives what tells the bytes of the arena of a model loaded since.

        Raises:
            Refused: the runtime does not tell.
        """
        raise Refused(f"{self.version} does not tell")

    def profile(self, source: str | bytes, seconds: float) -> dict[str, Any]:
        """Fields of the answer to ``profile``: what each op takes inside the model."""
        raise Refused(
            f"{type(self).__name__} cannot say what each op takes; ONNX Runtime, LiteRT and "
            "torch on a CPU can"
        )


#: Rows of the table that an embedding is measured with. Ids are zeros, as of whole models.
LOOKED_UP = 1024


def fill(shape: tuple[int, ...], seed: int = 0, scale: float = 1.0) -> Array:
    """Float32 normals, a short block repeated: quick at any size, no denormals, no overflow."""
    block = np.random.default_rng(seed).standard_normal(4093, dtype=np.float32) * np.float32(scale)
    return np.resize(block, shape)


def pack_codes(codes: Array, bits: int) -> Array:
    """Codes (..., n) that share bytes, the first in the lowest bits: (..., ceil(n * bits / 8))."""
    each = 8 // bits
    fill_up = [(0, 0)] * (codes.ndim - 1) + [(0, -codes.shape[-1] % each)]
    whole = np.pad(codes, fill_up).reshape(*codes.shape[:-1], -1, each)
    shifts = (np.arange(each) * bits).astype(np.uint8)
    packed: Array = np.bitwise_or.reduce(whole << shifts, axis=-1)
    return packed
