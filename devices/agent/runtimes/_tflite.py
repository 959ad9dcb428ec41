"""TFLite on the CPU, through LiteRT or its predecessor tflite-runtime. Part of the agent."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

import numpy as np

from latprof.devices.agent.runtimes._base import Array, Prepared, Refused, Runtime, fill
from latprof.devices.agent.runtimes._tflite_model import FEW_BITS_OP, write_tflite
from latprof.devices.agent.runtimes._tflite_profile import profile_tflite
from latprof.workloads import Workload

try:
    from ai_edge_litert import interpreter as _tflite

    _VERSION = f"litert {importlib.metadata.version('ai-edge-litert')}"
except ModuleNotFoundError as exc:
    if exc.name is None or not exc.name.startswith("ai_edge_litert"):
        raise
    from tflite_runtime import interpreter as _tflite

    _VERSION = f"tflite-runtime {importlib.metadata.version('tflite-runtime')}"

__all__ = ["TfliteRuntime"]


class TfliteRuntime(Runtime):
    """The interpreter, with inputs set once.

    Args:
        threads: of the interpreter, and so of XNNPACK.
        xnnpack: as every build has it by default, or the reference kernels.
    """

    def __init__(self, threads: int, xnnpack: bool = True) -> None:
        resolvers = _tflite.OpResolverType
        resolver = resolvers.AUTO if xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self._options = {"num_threads": threads, "experimental_op_resolver_type": resolver}
        self._threads, self._xnnpack = threads, xnnpack
        self.version = _VERSION
        self.delegate = "XNNPACK" if xnnpack else "none"
        self.settings = {}
        self.environment = {"weights_of_few_bits": FEW_BITS_OP}

    def workload(self, workload: Workload) -> Prepared:
        return self.model(write_tflite(workload))

    def model(self, source: str | bytes) -> Prepared:
        where = {"model_path" if isinstance(source, str) else "model_content": source}
        try:
            interpreter = _tflite.Interpreter(**where, **self._options)
            interpreter.allocate_tensors()
            return _Interpreter(interpreter)
        except (RuntimeError, ValueError) as exc:
            raise Refused(" ".join(str(exc).split())[:300]) from exc

    def profile(self, source: str | bytes, seconds: float) -> dict[str, Any]:
        plain = self.model(source)
        return profile_tflite(source, plain.call, seconds, self._threads, self._xnnpack)


class _Interpreter(Prepared):
    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], _example(detail))
        self.call = interpreter.invoke

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        interpreter = self._interpreter
        index = self._names()
        if sorted(inputs) != sorted(index):
            raise Refused(f"inputs are {sorted(inputs)}; the model takes {sorted(index)}")
        try:
            for name, values in inputs.items():
                interpreter.set_tensor(index[name], values)
            interpreter.invoke()
        except (RuntimeError, ValueError) as exc:
            raise Refused(" ".join(str(exc).split())[:300]) from exc
        return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]

    def _names(self) -> dict[str, int]:
        """Input names as the file's signature has them, else as its tensors do."""
        details = {d["name"]: d["index"] for d in self._interpreter.get_input_details()}
        signatures = self._interpreter.get_signature_list()
        if len(signatures) != 1:
            return details
        runner = self._interpreter.get_signature_runner(next(iter(signatures)))
        return {name: d["index"] for name, d in runner.get_input_details().items()}


def _example(detail: dict[str, Any]) -> Array:
    shape, dtype = tuple(detail["shape"]), detail["dtype"]
    if np.issubdtype(dtype, np.floating):
        return fill(shape).astype(dtype)
    return np.zeros(shape, dtype)
