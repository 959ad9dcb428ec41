"""torch on a GPU, eager (cuDNN, cuBLAS) or compiled, in CUDA graphs. Part of the agent."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from latprof.devices.agent._clock import Timed
from latprof.devices.agent.cuda._driver import GpuInfo
from latprof.devices.agent.cuda._replay import (
    EVENT_RESOLUTION_S,
    Replayer,
    flush_bytes,
    time_replays,
    warm_up,
)
from latprof.devices.agent.cuda._settings import GpuSettings
from latprof.devices.agent.runtimes._base import Array, NoDevice, Prepared, Refused, Runtime
from latprof.devices.agent.runtimes._torch import build
from latprof.devices.agent.runtimes._torch_two_of_four import two_of_four
from latprof.workloads import MatMul, Workload

__all__ = ["TorchOnGpu"]

#: Calls before a graph is captured, on a stream of its own: libraries choose and allocate in them.
_WARM_CALLS = 3


class TorchOnGpu(Runtime):
    """Inference mode; a graph holds each call's kernels. Model files are ``.pt2`` (torch.export).

    Args:
        gpu: which.
        compiled: through torch.compile with inductor.
        autotune: let cuDNN time its algorithms for each shape instead of guessing.
        precision, cache, layout: see GpuSettings.
    """

    def __init__(
        self,
        gpu: GpuInfo,
        compiled: bool = False,
        autotune: bool = True,
        precision: str = "float32",
        cache: str = "hot",
        layout: str = "nchw",
    ) -> None:
        self._settings = GpuSettings(precision, cache, layout)
        self._settings.forbid_tf32()
        if not torch.cuda.is_available():
            raise NoDevice(
                f"torch {torch.__version__} has no use of {gpu.name}: its CUDA build is for "
                f"{torch.version.cuda or 'no CUDA'}, the driver for {gpu.driver_cuda}; "
                "install a matching build from pytorch.org"
            )
        torch.cuda.set_device(gpu.index)
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.benchmark = autotune
        self._device = torch.device("cuda", gpu.index)
        self._compiled = compiled
        self._capability = gpu.capability
        self._replayer = _Graphs(self._device, gpu.l2_bytes)
        self.version = str(torch.__version__)
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        self.delegate = f"{'inductor' if self._compiled else 'eager'}, cuDNN {cudnn or 'absent'}"
        self.precision = precision
        self.resolution_s = EVENT_RESOLUTION_S
        self.settings = {"autotune": "yes" if autotune else "no", **self._settings.to_dict()}
        self._replayer.warm(self._replayer.flush)
        warm_up(self._replayer)

    def workload(self, workload: Workload) -> Prepared:
        workload = self._settings.workload(workload)
        if workload.dtype not in ("float32", "float16"):
            raise Refused(f"torch {workload.kind} in {workload.dtype}: expected a float")
        dtype = getattr(torch, workload.dtype)
        if isinstance(workload, MatMul) and workload.pattern:
            module, shapes = two_of_four(workload, self._device, self._capability)
        else:
            module, shapes = build(workload)
            module = module.to(self._device, dtype).eval()
        maps = torch.channels_last if self._settings.layout == "nhwc" else torch.contiguous_format
        if self._settings.layout == "nhwc":
            module = module.to(memory_format=maps)  # type: ignore[call-overload]
        inputs = {}
        for name, shape in shapes.items():
            values = torch.randn(shape, device=self._device, dtype=dtype)
            inputs[name] = values.to(memory_format=maps) if len(shape) == 4 else values
        return self._prepare(module, inputs)

    def model(self, source: str | bytes) -> Prepared:
        program = torch.export.load(io.BytesIO(source) if isinstance(source, bytes) else source)
        program = move_to_device_pass(program, self._device)
        args, kwargs = program.example_inputs or ((), {})
        given = (*args, *kwargs.values())
        names = program.graph_signature.user_inputs
        inputs = {n: v.to(self._device) for n, v in zip(names, given, strict=True)}
        if self._settings.precision == "float16":
            raise Refused("a .pt2 file keeps the dtypes it was exported in; export it in float16")
        return self._prepare(program.module(), inputs)

    def _prepare(self, module: Callable[..., Any], inputs: Mapping[str, Tensor]) -> Prepared:
        called = torch.compile(module) if self._compiled else module
        return _Module(called, inputs, self._replayer, cold=self._settings.cold)


class _Module(Prepared):
    def __init__(
        self,
        module: Callable[..., Any],
        inputs: Mapping[str, Tensor],
        replayer: _Graphs,
        *,
        cold: bool,
    ) -> None:
        self._module, self._names, self._replayer = module, list(inputs), replayer
        self._device, self._cold = replayer.device, cold
        args = tuple(inputs.values())

        def call() -> None:
            with torch.inference_mode():
                module(*args)

        self.call = call
        replayer.warm(call)

    def time(self, *, measure_s: float, resolution_s: float) -> Timed:
        samples_s, cost_s = time_replays(
            self._replayer, self.call, measure_s=measure_s, cold=self._cold
        )
        return Timed(samples_s, 1.0, cost_s)

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        if sorted(inputs) != sorted(self._names):
            raise Refused(f"inputs are {sorted(inputs)}; the model takes {self._names}")
        with torch.inference_mode():
            given = (torch.from_numpy(inputs[name]).to(self._device) for name in self._names)
            out = self._module(*given)
        outputs = [out] if isinstance(out, Tensor) else list(out)
        return [o.cpu().numpy() for o in outputs]


class _Graphs(Replayer):
    """torch's graphs and events, on the stream that torch captures on."""

    def __init__(self, device: torch.device, l2_bytes: int) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._before, self._after = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        self._flushed = torch.randn(flush_bytes(l2_bytes) // 4, device=device)
        self._sum = torch.empty((), device=device)

    def warm(self, call: Callable[[], None]) -> None:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_CALLS):
                call()
            self.flush()
        self._stream.synchronize()

    def capture(self, work: Callable[[], object]) -> Callable[[], object]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            work()

        def replay() -> None:
            graph.replay()

        return replay

    def elapsed_s(self, replay: Callable[[], object]) -> float:
        with torch.cuda.stream(self._stream):
            self._before.record(self._stream)
            replay()
            self._after.record(self._stream)
        self._after.synchronize()
        return float(self._before.elapsed_time(self._after)) * 1e-3

    def flush(self) -> None:
        torch.sum(self._flushed, dim=0, out=self._sum)
