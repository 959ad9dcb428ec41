"""From a device spec to a device."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Any

from latprof.devices._device import Device
from latprof.devices._fake import FAKE_SETTINGS, FakeDevice
from latprof.devices.agent import (
    GPU_RUNTIME_MODULES,
    GPU_RUNTIME_SETTINGS,
    GPU_SETTINGS,
    HOST_SETTINGS,
    LIMIT,
    RUNTIME_MODULES,
    RUNTIME_SETTINGS,
    THREADS,
    Setting,
    read_settings,
)
from latprof.devices.remote import BOOTSTRAP, AgentDevice, AgentOptions, ssh_command, ssh_hints
from latprof.errors import UnknownDeviceError
from latprof.vocabulary import Target

__all__ = ["device_settings", "open_device", "open_target"]

_KNOBS = ("affinity", "governor", "gpu_clock")


def open_device(
    spec: str,
    *,
    runtime: str = "onnxruntime",
    threads: int = 1,
    limit_s: float = 60.0,
    **settings: object,
) -> Device:
    """Open a device by its spec; use it in a ``with`` block.

    Args:
        spec: ``local``; ``cuda:N``, a GPU as nvidia-smi counts them; ``ssh:HOST``, as ssh would
            name it, or a GPU there, ``ssh:HOST/cuda:N``; ``adb:SERIAL`` or ``adb:HOST:PORT``,
            a phone, with ``/CLUSTER`` to choose its cores; or ``fake``, which has a latency law
            instead of hardware.
        runtime: ``onnxruntime``, ``tflite`` or ``torch``; on a GPU ``cuda``, ``onnxruntime`` or
            ``torch``.
        threads: intra-op threads.
        limit_s: seconds without an answer before the device counts as hung.
        settings: by name, see ``device_settings``; values may be text.

    Raises:
        UnknownDeviceError: no device answers to ``spec``, or it lacks what the runtime needs.
        UsageError: a setting that it does not have, or a value it cannot take.
        MissingExtraError: the runtime is not installed here.
        DeviceError: it does not answer.
    """
    threads, limit_s = THREADS.read(threads), LIMIT.read(limit_s)
    if spec == "fake":
        return FakeDevice(**read_settings(settings, FAKE_SETTINGS, spec))
    if _is_phone(spec):
        from latprof.devices.adb import open_phone

        return open_phone(spec, runtime=runtime, threads=threads, limit_s=limit_s, **settings)
    values = read_settings(settings, device_settings(spec, runtime), f"{spec} with {runtime}")
    place = _place(spec)
    python = values.get("python", "python3" if place.host else sys.executable)
    options = AgentOptions(
        name=spec,
        command=ssh_command(place.host, python) if place.host else [python, "-P", "-c", BOOTSTRAP],
        runtime=runtime,
        threads=threads,
        gpu=place.gpu,
        knobs={name: str(values[name]) for name in _KNOBS if name in values},
        settings={k: v for k, v in values.items() if k not in (*_KNOBS, "python")},
        hints=ssh_hints(place.host, python) if place.host else (),
        limit_s=limit_s,
    )
    return AgentDevice(options, shares_files=not place.host)


def device_settings(spec: str, runtime: str = "onnxruntime") -> tuple[Setting, ...]:
    """The settings of a device with a runtime, beside ``runtime``, ``threads`` and ``limit_s``.

    Raises:
        UnknownDeviceError: ``spec`` names no device, or it does not know the runtime.
    """
    if spec == "fake":
        return FAKE_SETTINGS
    if _is_phone(spec):
        from latprof.devices.adb import PHONE_SETTINGS

        return PHONE_SETTINGS
    place = _place(spec)
    runtimes = RUNTIME_MODULES if place.gpu is None else GPU_RUNTIME_MODULES
    if runtime not in runtimes:
        raise UnknownDeviceError(f"runtime is {runtime!r}; {spec} knows {', '.join(runtimes)}")
    if place.gpu is None:
        return (*RUNTIME_SETTINGS[runtime], *HOST_SETTINGS)
    return (*GPU_RUNTIME_SETTINGS[runtime], *HOST_SETTINGS, *GPU_SETTINGS)


def open_target(spec: str, target: Target, **settings: Any) -> Device:
    """Open a device as the target of an earlier table has it: runtime, threads; for a phone,
    cluster, delegate and precision; for a GPU, precision and settings. What ``settings`` say goes
    before the target's own.

    Raises:
        TargetMismatchError: the device is not that target.
        UnknownDeviceError, MissingExtraError, DeviceError: as open_device.
    """
    if _is_phone(spec):
        from latprof.devices.adb import settings_of

        settings = {**settings_of(target), **settings}
    elif "cuda:" in spec:
        compiled = {"compiled": True} if target.delegate.startswith("inductor") else {}
        chosen = {"precision": target.precision, **compiled, **dict(target.settings)}
        settings = {**chosen, **settings}
    device = open_device(spec, runtime=target.runtime, threads=target.threads, **settings)
    try:
        device.target.require(target, "the table")
    except BaseException:
        device.close()
        raise
    return device


def _is_phone(spec: str) -> bool:
    return spec == "adb" or spec.startswith("adb:")


@dataclass(frozen=True)
class _Place:
    """``host`` for ssh, empty for this machine; ``gpu`` the index of a GPU, or None."""

    host: str = ""
    gpu: int | None = None


def _place(spec: str) -> _Place:
    host, inner = "", spec
    if spec.startswith("ssh:"):
        host, _, inner = spec.removeprefix("ssh:").partition("/")
        if not host or host.startswith("-"):
            raise UnknownDeviceError(f"device is {spec!r}; expected ssh:HOST or ssh:HOST/cuda:0")
    if inner == "local" or (host and not inner):
        return _Place(host)
    gpu = re.fullmatch(r"cuda:(\d+)", inner)
    if gpu is None:
        raise UnknownDeviceError(
            f"device is {spec!r}; expected local, cuda:0, ssh:HOST, ssh:HOST/cuda:0 or adb:SERIAL"
        )
    return _Place(host, int(gpu[1]))
