"""The GPUs here, and for each runtime the one thing missing to use it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from latprof.devices._device import DeviceInfo
from latprof.devices.agent.cuda._compiler import choose, find_compilers
from latprof.devices.agent.cuda._driver import CudaError, GpuInfo, describe_gpu, gpu_count
from latprof.devices.agent.cuda._open import choose_driver
from latprof.devices.agent.runtimes._base import Lost, NoDevice

__all__ = ["list_gpus"]


def list_gpus() -> list[DeviceInfo]:
    """One line per GPU; without a driver, one line that says so. Nothing is measured."""
    try:
        gpus = [describe_gpu(index) for index in range(gpu_count())]
        lines = [_line(gpu) for gpu in gpus]
    except (NoDevice, CudaError, Lost) as exc:
        return [DeviceInfo("cuda", "NVIDIA GPU", missing=(("all", str(exc)),))]
    return lines or [DeviceInfo("cuda", "NVIDIA GPU", missing=(("all", "the driver sees none"),))]


def _line(gpu: GpuInfo) -> DeviceInfo:
    lacking = {"cuda": _compiler(gpu), "onnxruntime": _onnxruntime(), "torch": _torch()}
    missing = [(runtime, why) for runtime, why in lacking.items() if why]
    if importlib.util.find_spec("pynvml") is None:
        missing.append(("clocks", "are not recorded: pip install 'latprof[cuda]'"))
    driver, why_not_pycuda = choose_driver()
    if why_not_pycuda:
        missing.append(("pycuda", why_not_pycuda.removeprefix("pycuda ")))
    usable = tuple(runtime for runtime, why in lacking.items() if not why)
    description = f"{gpu.name}, driven by {driver.driven_by}"
    return DeviceInfo(f"cuda:{gpu.index}", description, usable, tuple(missing))


def _compiler(gpu: GpuInfo) -> str:
    try:
        choose(find_compilers(), gpu.capability, gpu.name)
    except NoDevice as exc:
        return str(exc)
    return ""


def _onnxruntime() -> str:
    install = "pip install onnxruntime-gpu"
    lacking = f"this onnxruntime has no CUDA provider; {install} in its place"
    return _lacks("onnxruntime", "capi/*onnxruntime_providers_cuda*", install, lacking)


def _torch() -> str:
    lacking = "this torch has no CUDA; install its CUDA build from pytorch.org"
    return _lacks("torch", "lib/*torch_cuda*", "pip install torch", lacking)


def _lacks(package: str, library: str, install: str, lacking: str) -> str:
    """Asks without importing: what makes a package use a GPU is a library inside it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return install
    folder = Path(next(iter(spec.submodule_search_locations)))
    return "" if any(folder.glob(library)) else lacking
