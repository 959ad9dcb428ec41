"""ONNX Runtime on a GPU, through its CUDA or TensorRT provider. Part of the agent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import onnxruntime as ort

from latprof.devices.agent._clock import Timed, thin
from latprof.devices.agent.cuda._driver import GpuInfo
from latprof.devices.agent.cuda._gpu import Gpu
from latprof.devices.agent.cuda._open import open_gpu
from latprof.devices.agent.cuda._replay import EVENT_RESOLUTION_S
from latprof.devices.agent.cuda._settings import GpuSettings
from latprof.devices.agent.runtimes._base import Array, NoDevice, Prepared, Refused, Runtime
from latprof.devices.agent.runtimes._onnx_model import write_onnx
from latprof.devices.agent.runtimes._onnxruntime import example_input, one_line
from latprof.workloads import Workload

__all__ = ["OnnxRuntimeOnGpu"]

_PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_SAMPLE_S = 1000 * EVENT_RESOLUTION_S
_MIN_SAMPLES, _KEEP, _WARM_CALLS = 5, 40, 3


class OnnxRuntimeOnGpu(Runtime):
    """Inputs and outputs bound on the GPU; each call replays ONNX Runtime's own CUDA graph.

    A model with nodes that the provider leaves to the CPU is refused: its latency would be the
    copies'. ONNX Runtime puts one call into a graph, not many, so very short ops read as long as
    it takes to launch a graph (``dispatch_s``).

    Args:
        gpu: which.
        provider: ``cuda``, or ``tensorrt``, which builds an engine for each shape (seconds).
        engine_cache: a folder on the GPU's host where TensorRT keeps engines between rounds.
        precision, cache, layout: see GpuSettings; ``cold`` is not to be had here.
    """

    def __init__(
        self,
        gpu: GpuInfo,
        provider: str = "cuda",
        engine_cache: str = "",
        precision: str = "float32",
        cache: str = "hot",
        layout: str = "nchw",
    ) -> None:
        self._settings = GpuSettings(precision, cache, layout)
        self._settings.forbid_tf32()
        if self._settings.cold:
            raise Refused(
                "cache is 'cold'; onnxruntime measures hot; --runtime torch or cuda do both"
            )
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # CUDA and cuDNN out of pip's packages, where they are
        self._provider = _PROVIDERS[provider]
        if self._provider not in ort.get_available_providers():
            raise NoDevice(
                f"onnxruntime {ort.__version__} has no {self._provider}; "
                "pip install onnxruntime-gpu in its place"
            )
        self._gpu = open_gpu(gpu.index)
        self._place = gpu.index
        self._providers = [(self._provider, self._provider_options(provider, engine_cache))]
        self.version = ort.__version__
        self.delegate = self._provider
        self.precision = precision
        self.resolution_s = EVENT_RESOLUTION_S
        self.environment = {"gpu_driven_by": self._gpu.driven_by}
        self.settings = {"provider": provider, **self._settings.to_dict()}

    def _provider_options(self, provider: str, engine_cache: str) -> dict[str, str]:
        options = {"device_id": str(self._place)}
        options["has_user_compute_stream"] = "1"
        options["user_compute_stream"] = str(self._gpu.stream)
        precision = self._settings.precision
        if provider == "tensorrt":
            options["trt_cuda_graph_enable"] = "1"
            options["trt_fp16_enable"] = "1" if precision == "float16" else "0"
            if engine_cache:
                options["trt_engine_cache_enable"] = "1"
                options["trt_engine_cache_path"] = engine_cache
            return options
        options["enable_cuda_graph"] = "1"
        options["use_tf32"] = "1" if precision == "tf32" else "0"
        options["prefer_nhwc"] = "1" if self._settings.layout == "nhwc" else "0"
        return options

    def workload(self, workload: Workload) -> Prepared:
        return self.model(write_onnx(self._settings.workload(workload)))

    def model(self, source: str | bytes) -> Prepared:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            session = ort.InferenceSession(source, options, providers=self._providers)
            if self._provider not in session.get_providers():
                raise Refused(f"{self._provider} does not load; are its CUDA libraries there?")
            return _Session(session, self._gpu, self._place)
        except Refused:
            raise
        except Exception as exc:
            raise Refused(one_line(exc)) from exc


class _Session(Prepared):
    def __init__(self, session: Any, gpu: Gpu, place: int) -> None:
        self._session, self._gpu, self._place = session, gpu, place
        self._before, self._after = gpu.event(), gpu.event()
        binding = session.io_binding()
        self._held = []  # a binding does not keep its inputs alive
        for node in session.get_inputs():
            value = ort.OrtValue.ortvalue_from_numpy(example_input(node), "cuda", place)
            self._held.append(value)
            binding.bind_ortvalue_input(node.name, value)
        for node in session.get_outputs():
            binding.bind_output(node.name, "cuda", place)
        session.run_with_iobinding(binding)  # gives the outputs their shapes
        for node, value in zip(session.get_outputs(), binding.get_outputs(), strict=True):
            self._held.append(value)  # a graph needs them to stay where they are
            binding.bind_ortvalue_output(node.name, value)
        unsynchronised = ort.RunOptions()
        unsynchronised.add_run_config_entry("disable_synchronize_execution_providers", "1")
        run = session.run_with_iobinding
        self.call = lambda: run(binding, unsynchronised)
        for _ in range(_WARM_CALLS):
            self.call()

    def time(self, *, measure_s: float, resolution_s: float) -> Timed:
        begin = time.perf_counter()
        calls = 1
        while (took_s := self._elapsed_s(calls)) < _SAMPLE_S:
            calls = max(2 * calls, int(calls * _SAMPLE_S / max(took_s, EVENT_RESOLUTION_S)))
        samples_s: list[float] = []
        while len(samples_s) < _MIN_SAMPLES or time.perf_counter() - begin < measure_s:
            samples_s.append(self._elapsed_s(calls) / calls)
        return Timed(thin(samples_s, _KEEP), 1.0, time.perf_counter() - begin)

    def _elapsed_s(self, calls: int) -> float:
        call: Callable[[], object] = self.call
        self._before.record()
        for _ in range(calls):
            call()
        self._after.record()
        return self._after.seconds_since(self._before)

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        names = [node.name for node in self._session.get_inputs()]
        if sorted(inputs) != sorted(names):
            raise Refused(f"inputs are {sorted(inputs)}; the model takes {names}")
        # Bound anew: a graph reads where it was captured, so the values go there.
        for node, value in zip(self._session.get_inputs(), self._held, strict=False):
            value.update_inplace(inputs[node.name])
        self.call()
        self._gpu.wait()
        return [value.numpy() for value in self._held[len(names) :]]
