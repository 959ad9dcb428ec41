"""From a device spec to a device."""

from __future__ import annotations

import re
import sys
from typing import Any

from latprof.devices._device import Device
from latprof.devices._fake import FakeDevice
from latprof.devices.agent import GPU_RUNTIME_MODULES, RUNTIME_MODULES
from latprof.devices.remote import BOOTSTRAP, AgentDevice, ssh_command, ssh_hints
from latprof.errors import UnknownDeviceError, UsageError
from latprof.vocabulary import Target

__all__ = ["open_device", "open_target"]

_KNOBS = ("affinity", "governor", "gpu_clock")


def open_device(
    spec: str,
    *,
    runtime: str = "onnxruntime",
    threads: int = 1,
    limit_s: float = 60.0,
    **settings: str,
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
        settings: ``python`` (the interpreter that has the runtime), ``affinity`` (``auto``,
            ``none``, or cores such as ``0,1``), ``governor`` (to ask for), and the runtime's own:
            ``graph`` for onnxruntime, ``xnnpack`` for tflite, ``compiled`` for torch. GPUs have
            theirs: docs/devices/nvidia-gpus.md; and phones: latprof.devices.adb.SETTINGS.

    Raises:
        UnknownDeviceError: no device answers to ``spec``, or it lacks what the runtime needs.
        MissingExtraError: the runtime is not installed here.
        DeviceError: it does not answer.
    """
    if spec == "fake":
        return FakeDevice(**_fake_settings(settings))
    if spec == "adb" or spec.startswith("adb:"):
        from latprof.devices.adb import open_phone

        return open_phone(spec, runtime=runtime, threads=threads, limit_s=limit_s, **settings)
    host, gpu = _place(spec)
    runtimes = RUNTIME_MODULES if gpu is None else GPU_RUNTIME_MODULES
    if runtime not in runtimes:
        raise UnknownDeviceError(f"runtime is {runtime!r}; {spec} knows {', '.join(runtimes)}")
    common: dict[str, Any] = {
        "runtime": runtime,
        "threads": threads,
        "gpu": gpu,
        "limit_s": limit_s,
        "knobs": {k: v for k, v in settings.items() if k in _KNOBS},
        "settings": {k: v for k, v in settings.items() if k not in (*_KNOBS, "python")},
    }
    if gpu is None and "gpu_clock" in settings:
        raise UsageError(f"{spec} has no setting 'gpu_clock'; it is for GPUs, such as cuda:0")
    if not host:
        command = [settings.get("python", sys.executable), "-P", "-c", BOOTSTRAP]
        return AgentDevice(spec, command, shares_files=True, **common)
    python = settings.get("python", "python3")
    return AgentDevice(
        spec,
        ssh_command(host, python),
        shares_files=False,
        hints=ssh_hints(host, python),
        **common,
    )


def open_target(spec: str, target: Target, **settings: Any) -> Device:
    """Open a device as the target of an earlier table has it: runtime, threads; for a phone,
    cluster, delegate and precision; for a GPU, precision and settings. What ``settings`` say goes
    before the target's own.

    Raises:
        TargetMismatchError: the device is not that target.
        UnknownDeviceError, MissingExtraError, DeviceError: as open_device.
    """
    if spec == "adb" or spec.startswith("adb:"):
        from latprof.devices.adb import settings_of

        settings = {**settings_of(target), **settings}
    elif "cuda:" in spec:
        compiled = {"compiled": "yes"} if target.delegate.startswith("inductor") else {}
        chosen = {"precision": target.precision, **compiled, **dict(target.settings)}
        settings = {**chosen, **settings}
    device = open_device(spec, runtime=target.runtime, threads=target.threads, **settings)
    try:
        device.target.require(target, "the table")
    except BaseException:
        device.close()
        raise
    return device


def _place(spec: str) -> tuple[str, int | None]:
    """(ssh host or nothing, index of a GPU or None)."""
    host, inner = "", spec
    if spec.startswith("ssh:"):
        host, _, inner = spec.removeprefix("ssh:").partition("/")
        if not host or host.startswith("-"):
            raise UnknownDeviceError(f"device is {spec!r}; expected ssh:HOST or ssh:HOST/cuda:0")
    if inner == "local" or (host and not inner):
        return host, None
    gpu = re.fullmatch(r"cuda:(\d+)", inner)
    if gpu is None:
        raise UnknownDeviceError(
            f"device is {spec!r}; expected local, cuda:0, ssh:HOST, ssh:HOST/cuda:0 or adb:SERIAL"
        )
    return host, int(gpu[1])


def _fake_settings(settings: dict[str, str]) -> dict[str, Any]:
    kinds = {
        "seed": int,
        "stair": int,
        "process_noise": float,
        "sample_noise": float,
        "drift": float,
    }
    try:
        return {name: kinds[name](value) for name, value in settings.items()}
    except (KeyError, ValueError) as exc:
        raise UsageError(f"fake: settings are {settings}; expected {', '.join(kinds)}") from exc
