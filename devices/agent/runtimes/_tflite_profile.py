"""How long each op of a .tflite file takes inside it, by LiteRT's own profiler. Part of the agent.

LiteRT's Python package gives no access to it, but the C library in the same package does. What
runs is a CompiledModel on the CPU: the same kernels and the same XNNPACK as the interpreter's.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from latprof.devices.agent.runtimes._base import Refused, fill
from latprof.devices.agent.runtimes._profile_turns import Run, quietest, take_turns

__all__ = ["profile_file", "profile_tflite"]

#: Before this version, functions of these names take other arguments.
_FIRST_VERSION = (2, 3)
#: LiteRtHwAccelerators, LiteRtTensorBufferLockMode, LiteRtElementType.
_CPU, _WRITE, _FLOAT32 = 1, 1, 1
#: ProfiledEventData.event_type: an op of the file, and one of a delegate, in two ways.
_OPERATOR, _IN_DELEGATE, _IN_DELEGATE_TOO = 2, 4, 8
#: No struct that the library fills in here is as large.
_TYPE_BYTES = 1024
#: A file's op takes about so many bytes, without its weights.
_NODE_BYTES = 200

_Pointer = ctypes.c_void_p


class _Event(ctypes.Structure):
    """ProfiledEventData of litert_profiler_event.h."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("event_type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("took_us", ctypes.c_uint64),
        ("memory_before", ctypes.c_int64 * 3),
        ("memory_after", ctypes.c_int64 * 3),
        ("number", ctypes.c_int64),
        ("subgraph", ctypes.c_int64),
        ("source", ctypes.c_int),
    )


def profile_tflite(
    source: str | bytes, plain: Callable[[], object], seconds: float, threads: int, xnnpack: bool
) -> dict[str, Any]:
    """``ops`` in the order in which they run: those of the file are ``KIND:NUMBER``, those of
    XNNPACK ``XNNPACK PART/KIND:NUMBER``, counted anew in each part of the graph that it runs.
    ``whole_s`` of the model without the profiler, ``core_share`` that both had, and no ``graph``:
    the runtime has none to give.

    Args:
        plain: one run of the same file without the profiler.
        seconds: of timing, about.

    Raises:
        Refused: this package has no such library, or it refuses the file.
    """
    library = _library()
    with tempfile.TemporaryDirectory(prefix="latprof-") as folder:
        if isinstance(source, bytes):
            path = Path(folder) / "model.tflite"
            path.write_bytes(source)
        else:
            path = Path(source)
        profiled = _Profiled(library, path, threads, xnnpack)
        nodes = max(1, path.stat().st_size // _NODE_BYTES)
        pairs = take_turns(plain, profiled.call, seconds, min(nodes, 1000))
        return {**quietest(profiled.runs, pairs, "LiteRT"), "graph": ""}


def profile_file(
    path: str, *, threads: int, xnnpack: bool, runs: int
) -> list[tuple[str, str, str, float]]:
    """(name, op, provider, mean seconds) of each op, over some runs.

    Raises:
        Refused: as ``profile_tflite``.
    """
    profiled = _Profiled(_library(), Path(path), threads, xnnpack)
    for _ in range(runs):
        profiled.call()
    return [(*key, sum(run[key] for run in profiled.runs) / runs) for key in profiled.runs[0]]


def _library() -> Any:
    try:
        version = importlib.metadata.version("ai-edge-litert")
    except importlib.metadata.PackageNotFoundError as exc:
        raise Refused(f"tflite-runtime cannot say what each op takes; {_needed()} can") from exc
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    package = importlib.util.find_spec("ai_edge_litert")
    folder = Path(package.origin).parent if package and package.origin else Path()
    found = [p for name in ("libLiteRt.so", "libLiteRt.dylib", "libLiteRt.dll")
             if (p := folder / name).is_file()]  # fmt: skip
    if numbers < _FIRST_VERSION or not found:
        raise Refused(f"ai-edge-litert {version} cannot say what each op takes; {_needed()} can")
    library = ctypes.CDLL(str(found[0]))
    if not hasattr(library, "LiteRtGetProfilerEvents"):
        raise Refused(f"ai-edge-litert {version} has no profiler; {_needed()} has")
    return library


def _needed() -> str:
    return "ai-edge-litert " + ".".join(map(str, _FIRST_VERSION))


class _Profiled:
    """A compiled model with a profiler; ``call`` runs it once and keeps what its ops took.

    Nothing is freed: the process ends soon after.
    """

    def __init__(self, library: Any, path: Path, threads: int, xnnpack: bool) -> None:
        self._library = library
        self.runs: list[Run] = []
        self._environment = self._new("CreateEnvironment", 0, None)
        model = self._new("CreateModelFromFile", self._environment, str(path).encode())
        options = self._new("CreateOptions")
        self._do("SetOptionsHardwareAccelerators", options, _CPU)
        kernels = "xnnpack" if xnnpack else "builtin"
        self._held: list[Any] = []
        self._add(options, "runtime_options_string", "enable_profiling = true\n")
        self._add(options, "xnnpack", f'num_threads = {threads}\nkernel_mode = "{kernels}"\n')
        self._model = self._new("CreateCompiledModel", self._environment, model, options)
        self._profiler = self._new("CompiledModelGetProfiler", self._model)
        signature = self._new("GetModelSignature", model, ctypes.c_size_t(0))
        self._inputs = self._buffers(signature, "Input")
        self._outputs = self._buffers(signature, "Output")

    def call(self) -> None:
        self._do("StartProfiler", self._profiler)
        self._do(
            "RunCompiledModel", self._model, ctypes.c_size_t(0),
            ctypes.c_size_t(len(self._inputs)), self._inputs,
            ctypes.c_size_t(len(self._outputs)), self._outputs,
        )  # fmt: skip
        self._do("StopProfiler", self._profiler)
        count = ctypes.c_int()
        self._do("GetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * count.value)()
        self._do("GetProfilerEvents", self._profiler, count, events)
        self.runs.append(_run_of(events))

    def _do(self, name: str, *given: Any) -> None:
        if status := getattr(self._library, f"LiteRt{name}")(*given):
            raise Refused(f"LiteRT's profiler: {name} ended with status {status}")

    def _new(self, name: str, *given: Any) -> ctypes.c_void_p:
        made = _Pointer()
        self._do(name, *given, ctypes.byref(made))
        if not made:
            raise Refused(f"LiteRT's profiler: {name} gave nothing")
        return made

    def _add(self, options: _Pointer, name: str, text: str) -> None:
        """One group of options, as the library reads them: TOML, which must stay where it is."""
        payload = ctypes.create_string_buffer(text.encode())
        keep = ctypes.CFUNCTYPE(None, _Pointer)(lambda _: None)
        self._held += [payload, keep]
        given = self._new("CreateOpaqueOptions", name.encode(), payload, keep)
        self._do("AddOpaqueOptions", options, given)

    def _buffers(self, signature: _Pointer, kind: str) -> Any:
        count = ctypes.c_size_t()
        self._do(f"GetNumSignature{kind}s", signature, ctypes.byref(count))
        made = (_Pointer * count.value)()
        for i in range(count.value):
            number = ctypes.c_size_t(i)
            tensor = self._new(f"GetSignature{kind}TensorByIndex", signature, number)
            layout = ctypes.create_string_buffer(_TYPE_BYTES)
            self._do("GetRankedTensorType", tensor, layout)
            needs = self._new(
                f"GetCompiledModel{kind}BufferRequirements", self._model, ctypes.c_size_t(0), number
            )
            buffer = self._new(
                "CreateManagedTensorBufferFromRequirements", self._environment, layout, needs
            )
            if kind == "Input":
                self._fill(buffer, tensor)
            made[i] = buffer
        return made

    def _fill(self, buffer: _Pointer, tensor: _Pointer) -> None:
        """Float32 normals; zeros of other types."""
        size, kind = ctypes.c_size_t(), ctypes.c_int()
        self._do("GetTensorBufferPackedSize", buffer, ctypes.byref(size))
        layout = ctypes.create_string_buffer(_TYPE_BYTES)
        self._do("GetRankedTensorType", tensor, layout)
        ctypes.memmove(ctypes.byref(kind), layout, ctypes.sizeof(kind))  # its first field
        address = self._lock(buffer)
        floats = kind.value == _FLOAT32
        values = fill((size.value // 4,)) if floats else np.zeros(size.value, np.uint8)
        ctypes.memmove(address, values.ctypes.data, values.nbytes)
        self._do("UnlockTensorBuffer", buffer)

    def _lock(self, buffer: _Pointer) -> ctypes.c_void_p:
        address = _Pointer()
        self._do("LockTensorBuffer", buffer, ctypes.byref(address), _WRITE)
        return address


def _run_of(events: Any) -> Run:
    """Seconds of each op. Those of a delegate are counted from 0 in each part that it runs."""
    run: Run = {}
    part, last = 0, -1
    for event in events:
        tag, number = event.tag.decode(errors="replace"), int(event.number)
        if event.event_type == _OPERATOR:
            key = f"{tag}:{number}", tag, "builtin"
        elif event.event_type in (_IN_DELEGATE, _IN_DELEGATE_TOO):
            part += number <= last
            last = number
            key = f"XNNPACK {part}/{tag}:{number}", tag, "XNNPACK"
        else:
            continue
        run[key] = run.get(key, 0.0) + event.took_us * 1e-6
    return run
