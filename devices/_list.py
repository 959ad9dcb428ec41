"""What is there to measure on, and what is missing to use it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from latprof.devices._device import DeviceInfo
from latprof.devices._open import open_device
from latprof.devices.agent import RUNTIME_MODULES, describe_cpu
from latprof.errors import LatprofError

__all__ = ["list_devices"]

#: What to install here for each runtime: (one of these modules, the extra).
_PACKAGES = {
    "onnxruntime": (("onnxruntime",), "onnx"),
    "tflite": (("ai_edge_litert", "tflite_runtime"), "tflite"),
    "torch": (("torch",), "train"),
}


def list_devices(hosts: Iterable[str] = ()) -> list[DeviceInfo]:
    """This machine, its GPUs, the phones that adb sees, and the given ssh hosts.

    Nothing is measured. Each ssh host is asked once per runtime.
    """
    return [_local(), *_gpus(), *_phones(), *(_ssh(host) for host in hosts)]


def _local() -> DeviceInfo:
    usable, missing = [], []
    for runtime, (modules, extra) in _PACKAGES.items():
        if any(importlib.util.find_spec(module) for module in modules):
            usable.append(runtime)
        else:
            missing.append((runtime, f"pip install 'latprof[{extra}]'"))
    return DeviceInfo("local", describe_cpu(), tuple(usable), tuple(missing))


def _gpus() -> list[DeviceInfo]:
    from latprof.devices._gpus import list_gpus

    return list_gpus()


def _ssh(host: str) -> DeviceInfo:
    name = f"ssh:{host.removeprefix('ssh:')}"
    usable, missing, description = [], [], ""
    for runtime in RUNTIME_MODULES:
        try:
            with open_device(name, runtime=runtime) as device:
                description = device.target.device
                usable.append(runtime)
        except LatprofError as exc:
            missing.append((runtime, str(exc).removeprefix(f"{name}: ").removeprefix(f"{name} ")))
    reasons = {why for _, why in missing}
    if len(missing) == len(RUNTIME_MODULES) and len(reasons) == 1:
        missing = [("all", reasons.pop())]
    return DeviceInfo(name, description, tuple(usable), tuple(missing))


def _phones() -> list[DeviceInfo]:
    from latprof.devices.adb import list_phones

    return list_phones()
