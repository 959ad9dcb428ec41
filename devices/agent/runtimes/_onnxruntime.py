"""ONNX Runtime on the CPU. Part of the agent."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as _ort

from latprof.devices.agent.runtimes._base import Array, Prepared, Refused, Runtime, fill
from latprof.devices.agent.runtimes._onnx_few_bits import FEW_BITS_OP, write_onnx_few_bits
from latprof.devices.agent.runtimes._onnx_int8 import write_onnx_int8
from latprof.devices.agent.runtimes._onnx_model import write_onnx
from latprof.devices.agent.runtimes._onnx_profile import profile_session
from latprof.workloads import MatMul, Workload

__all__ = ["OnnxRuntime", "example_input", "one_line"]

_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "none": "ORT_DISABLE_ALL",
}
_PROVIDER = "CPUExecutionProvider"
#: What the arena logs each time it grows, at the level of information.
_ARENA, _INFORMATION = re.compile(r"Total allocated bytes: (\d+)"), 1
_DTYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_,
}  # fmt: skip


class OnnxRuntime(Runtime):
    """Sequential execution, inputs and outputs bound once, so a call is one inference and no copy.

    Args:
        threads: intra-op threads.
        graph: graph optimization level: ``all``, ``extended``, ``basic`` or ``none``.
    """

    def __init__(self, threads: int, graph: str = "all") -> None:
        self._threads, self._graph = threads, graph
        self._options = self._new_options()
        self.version = ort.__version__
        self.delegate = _PROVIDER
        self.settings = {"graph": graph}
        self.environment = {"weights_of_few_bits": FEW_BITS_OP}

    def _new_options(self) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[self._graph])
        return options

    def workload(self, workload: Workload) -> Prepared:
        if isinstance(workload, MatMul) and workload.weight_bits:
            return self.model(write_onnx_few_bits(workload))
        write = write_onnx_int8 if workload.dtype == "int8" else write_onnx
        return self.model(write(workload))

    def model(self, source: str | bytes) -> Prepared:
        return _open(source, self._options)

    def watch_arena(self) -> Callable[[], int]:
        if not hasattr(_ort, "set_default_logger_callback"):
            raise Refused(f"ONNX Runtime {self.version} does not tell; 1.32 does")
        totals = [0]

        def hear(severity: int, category: str, logid: str, where: str, message: str) -> None:
            if found := _ARENA.search(message):
                totals.append(int(found[1]))

        _ort.set_default_logger_callback(hear, _INFORMATION)
        return lambda: max(totals)

    def profile(self, source: str | bytes, seconds: float) -> dict[str, Any]:
        return profile_session(source, self._new_options(), _open, seconds)


def _open(source: str | bytes, options: Any) -> _Session:
    try:
        return _Session(ort.InferenceSession(source, options, providers=[_PROVIDER]))
    except Exception as exc:
        raise Refused(one_line(exc)) from exc


class _Session(Prepared):
    def __init__(self, session: Any) -> None:
        self.session = session
        binding = session.io_binding()
        self._held = []  # a binding does not keep its inputs alive
        for node in session.get_inputs():
            value = ort.OrtValue.ortvalue_from_numpy(example_input(node))
            self._held.append(value)
            binding.bind_ortvalue_input(node.name, value)
        for node in session.get_outputs():
            binding.bind_output(node.name)
        session.run_with_iobinding(binding)  # gives the outputs their shapes
        for node, value in zip(session.get_outputs(), binding.get_outputs(), strict=True):
            self._held.append(value)
            binding.bind_ortvalue_output(node.name, value)
        run = session.run_with_iobinding
        self.call = lambda: run(binding)

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        names = [node.name for node in self.session.get_inputs()]
        if sorted(inputs) != sorted(names):
            raise Refused(f"inputs are {sorted(inputs)}; the model takes {names}")
        try:
            return list(self.session.run(None, dict(inputs)))
        except Exception as exc:
            raise Refused(one_line(exc)) from exc


def example_input(node: Any) -> Array:
    """Random values of an input's shape; open dimensions are 1."""
    if node.type not in _DTYPES:
        raise Refused(f"input {node.name} is a {node.type}; expected one of {', '.join(_DTYPES)}")
    shape = tuple(d if isinstance(d, int) and d > 0 else 1 for d in node.shape)
    dtype = _DTYPES[node.type]
    if np.issubdtype(dtype, np.floating):
        return fill(shape).astype(dtype)
    if dtype in (np.int8, np.uint8):
        return (fill(shape) * 40).astype(np.int8).view(dtype)
    return np.zeros(shape, dtype)


def one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:300] or type(exc).__name__
