"""Models to time on a phone: one op, repeated until a clock of whole microseconds resolves it.

Copies are put in a chain where the op keeps its shape, so that they pass two buffers back and
forth and stay in the cache as the single op does; else side by side, reading the same input.
The runtime packs the weights of every copy apart, so copies of a large op are kept few: more of
them would leave the cache and time the memory instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from latprof.devices._device import Array
from latprof.devices.agent.runtimes._tflite_graph import TfliteGraph
from latprof.devices.agent.runtimes._tflite_int8 import Int8Graph
from latprof.devices.agent.runtimes._tflite_model import (
    append_workload,
    graph_class,
    input_dtype,
    input_shape,
)
from latprof.workloads import DTYPE_BYTES, Conv2d, Elementwise, Pool, Workload

__all__ = ["RESOLVED_S", "Repeated", "Speed", "write_repeated"]

#: One Invoke should take this long: a clock of 1 us then resolves it to under 1%.
RESOLVED_S = 100e-6
_AIM_S = 200e-6
_MOST_COPIES = 96  # a chain that halves its values at every step stays clear of denormals
_CACHE_BYTES = 1 << 20

_OP_S = 0.5e-6  # the least that any op takes

#: Not chained: products run to zero, XNNPACK takes a clamp of a clamp for one, means and look-ups
#: give another shape than they take.
_SIDE_BY_SIDE = (
    "embedding", "mean", "mul", "neg", "relu", "relu6", "rsqrt", "scale", "square",
)  # fmt: skip


@dataclass(frozen=True)
class Speed:
    """How fast float32 ops run, for guessing at durations. The default is faster than any phone."""

    macs_per_s: float = 120e9
    bytes_per_s: float = 80e9

    def least_s(self, workload: Workload) -> float:
        """A duration that the workload is unlikely to stay below."""
        macs_per_s = self.macs_per_s * (4 if workload.dtype == "int8" else 1)
        touched = workload.activation_bytes + workload.weight_bytes
        return max(_OP_S, workload.macs / macs_per_s, touched / self.bytes_per_s)


@dataclass(frozen=True)
class Repeated:
    """A workload and how many copies of it one model holds."""

    workload: Workload
    copies: int

    @classmethod
    def guess(cls, workload: Workload, speed: Speed) -> Repeated:
        """Copies before the op has been timed: enough to be resolved, and well so in the cache."""
        wanted = math.ceil(_AIM_S / speed.least_s(workload))
        return cls(workload, min(wanted, _most_copies(workload)))

    def after(self, invoke_s: float) -> Repeated:
        """The same, or with more copies where one Invoke of these took too short a time."""
        most = _most_copies(self.workload)
        if invoke_s >= RESOLVED_S or self.copies >= most:
            return self
        wanted = math.ceil(self.copies * _AIM_S / max(invoke_s, 1e-6))
        return replace(self, copies=min(max(wanted, self.copies + 1), most))

    def per_op_s(self, invoke_s: float, overhead_s: float) -> float:
        """What a model of one copy takes, as other devices time it: one call and one op."""
        overhead_s = min(overhead_s, invoke_s / 2)
        return overhead_s + (invoke_s - overhead_s) / self.copies


def write_repeated(repeated: Repeated) -> bytes:
    """A .tflite with the workload's copies. float16 is written as float32: the flag does the rest.

    Raises:
        Refused: TFLite has no such op.
    """
    workload = repeated.workload
    if workload.dtype == "float16":
        workload = workload.with_dtype("float32")
    graph = _GRAPHS[graph_class(workload.dtype)]()
    first = graph.input(input_shape(workload), input_dtype(workload))
    last = first
    for _ in range(repeated.copies):
        graph.start_copy()
        last = append_workload(graph, workload, last if _chains(workload) else first)
        if not _chains(workload):
            graph.output(last)
    if _chains(workload):
        graph.output(last)
    return graph.serialize()


class _Copies(TfliteGraph):
    """Copies of an op share its operands and its constants, so that the file holds them once.

    The runtime still packs the weights for each copy apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[str, list[int]] = {"input": [], "constant": []}
        self._next = {"input": 0, "constant": 0}

    def start_copy(self) -> None:
        # The first input is the one that all copies have been given.
        self._next = {"input": 1, "constant": 0}

    def input(self, shape: tuple[int, ...], dtype: str = "float32") -> int:
        return self._shared("input", lambda: super(_Copies, self).input(shape, dtype))

    def constant(self, values: Array) -> int:
        return self._shared("constant", lambda: super(_Copies, self).constant(values))

    def _shared(self, what: str, make: Callable[[], int]) -> int:
        made, number = self._made[what], self._next[what]
        if number == len(made):
            made.append(make())
        self._next[what] += 1
        return made[number]


class _Int8Copies(_Copies, Int8Graph):
    """The same in int8."""


_GRAPHS: dict[type[TfliteGraph], type[_Copies]] = {
    TfliteGraph: _Copies,
    Int8Graph: _Int8Copies,
}


def _chains(workload: Workload) -> bool:
    """Whether copies of an op may read each other's output."""
    shapeless = isinstance(workload, Elementwise) and workload.op not in _SIDE_BY_SIDE
    c_in, c_out = workload.channels
    if not isinstance(workload, Conv2d | Pool):
        return shapeless
    global_pool = isinstance(workload, Pool) and workload.op == "global_avg"
    odd = workload.kernel % 2 == 1  # the output of an even kernel is one smaller
    return c_in == c_out and workload.stride == 1 and not global_pool and odd


def _most_copies(workload: Workload) -> int:
    """As many as the cache holds: beyond it, they would time the memory."""
    return max(1, min(_MOST_COPIES, _CACHE_BYTES // max(1, _bytes_per_copy(workload))))


def _bytes_per_copy(workload: Workload) -> int:
    """What each copy adds to the working set."""
    if _chains(workload):
        return workload.weight_bytes
    outputs = workload.activation_bytes // 2  # the input is shared; the rest is mostly the output
    return workload.weight_bytes + max(outputs, DTYPE_BYTES[workload.dtype])
