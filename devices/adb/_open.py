"""From ``adb:SERIAL/CLUSTER`` and settings to a phone."""

from __future__ import annotations

import functools
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latprof.devices._device import DeviceInfo
from latprof.devices.adb._benchmark_model import NPU_FLAGS
from latprof.devices.adb._direct import DirectTransport, usb_serials
from latprof.devices.adb._server import (
    STATE_HINTS,
    ServerTransport,
    client,
    server_answers,
    server_phones,
)
from latprof.devices.adb._tool import DOWNLOADS, cache_path
from latprof.devices.adb._transport import Transport
from latprof.errors import LatprofError, UnknownDeviceError, UsageError
from latprof.vocabulary import Target, require

if TYPE_CHECKING:
    from latprof.devices.adb._device import AdbDevice

__all__ = ["SETTINGS", "list_phones", "open_phone", "settings_of"]

_log = logging.getLogger("latprof")

BACKENDS = ("auto", "server", "direct")

#: Settings of a phone: name -> (what it is, as text to value).
SETTINGS: dict[str, Callable[[str], Any]] = {
    "backend": str,
    "benchmark_model": str,
    "benchmark_model_sha256": str,
    "cluster": str,
    "compiler_plugin_library_path": str,
    "delegate": str,
    "dispatch_library_path": str,
    "fixed_performance": lambda text: _on(text, "fixed_performance"),
    "key": lambda text: Path(text).expanduser(),
    "mediatek_nerun_pilot_version": str,
    "pause_s": lambda text: _seconds(text, "pause_s"),
    "poll_s": lambda text: _seconds(text, "poll_s"),
    "precision": str,
    "return_s": lambda text: _seconds(text, "return_s"),
    "stay_awake": lambda text: _on(text, "stay_awake"),
}


def open_phone(
    spec: str, *, runtime: str, threads: int, limit_s: float = 60.0, **settings: str
) -> AdbDevice:
    """Open a phone by its spec.

    Args:
        spec: ``adb:SERIAL``, ``adb:HOST:PORT`` or ``adb:`` for the only phone there is; each may
            end in ``/CLUSTER``.
        settings: SETTINGS by name, as text.

    Raises:
        UnknownDeviceError: no such phone, or several where one was to be named.
        UsageError: a setting that phones do not have, or a value it cannot take.
        DeviceError: the phone does not answer.
    """
    if runtime != "tflite":
        raise UnknownDeviceError(f"runtime is {runtime!r}; phones run tflite: --runtime tflite")
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise UsageError(f"phones have no setting {unknown[0]!r}; they have {', '.join(SETTINGS)}")
    values = {name: SETTINGS[name](text) for name, text in settings.items()}
    serial, _, cluster = spec.removeprefix("adb").removeprefix(":").partition("/")
    connect = _connector(
        serial, values.pop("backend", "auto"), values.pop("key", None), connect_s=5.0
    )
    values.setdefault("cluster", cluster)
    values["npu"] = {name: values.pop(name) for name in NPU_FLAGS if name in values}
    require("flatbuffers", extra="adb", why="writing models for a phone")
    from latprof.devices.adb._device import AdbDevice

    return AdbDevice(connect, threads=threads, limit_s=limit_s, **values)


def settings_of(target: Target) -> dict[str, str]:
    """Settings that open a phone as the target of an earlier table has it."""
    kept = dict(target.settings)
    return {
        "cluster": target.device.rpartition("/")[2],
        "delegate": target.delegate,
        "precision": target.precision,
        "fixed_performance": kept.get("fixed_performance", "on"),
        **{name: kept[name] for name in NPU_FLAGS if name in kept},
    }


def list_phones() -> list[DeviceInfo]:
    """Every phone that adb sees, usable or not; one line that says why where adb cannot look."""
    try:
        require("adb_shell", extra="adb", why="finding phones")
        if _server_at_hand():
            found = server_phones(client())
        else:
            found = dict.fromkeys(usb_serials(), ("device", ""))
    except LatprofError as exc:
        return [DeviceInfo("adb:", "phones", missing=(("tflite", str(exc)),))]
    infos = []
    for serial, (state, model) in found.items():
        why = STATE_HINTS.get(state, f"the phone is {state}") if state != "device" else _no_tool()
        infos.append(
            DeviceInfo(
                f"adb:{serial}",
                model or "phone over adb",
                usable=() if why else ("tflite",),
                missing=(("tflite", why),) if why else (),
            )
        )
    return infos


def _no_tool() -> str:
    if any(cache_path(abi).is_file() for abi in DOWNLOADS):
        return ""
    return "--benchmark-model PATH, or --benchmark-model download"


def _connector(
    serial: str, backend: str, key: Path | None, *, connect_s: float
) -> Callable[[], Transport]:
    if backend not in BACKENDS:
        raise UsageError(f"backend is {backend!r}; expected one of {', '.join(BACKENDS)}")
    if backend == "auto":
        backend = "server" if _server_at_hand() else "direct"
    serial = serial or os.environ.get("ANDROID_SERIAL", "")
    if backend == "server":
        adb = client()
        serial = serial or _only(list(server_phones(adb)))
        return functools.partial(ServerTransport, serial, adb=adb, connect_s=connect_s)
    serial = serial or _only(usb_serials())
    return functools.partial(
        DirectTransport, serial, key=key, connect_s=connect_s,
        on_prompt=lambda: _log.warning("%s asks on its screen: tap Allow", serial),
    )  # fmt: skip


def _only(serials: list[str]) -> str:
    """The one phone. Raises UnknownDeviceError where there are none or several."""
    if len(serials) == 1:
        return serials[0]
    if not serials:
        raise UnknownDeviceError(
            "no phone is attached; plug one in with USB debugging on, or name one on the network "
            "(adb:HOST:PORT)"
        )
    raise UnknownDeviceError(
        f"{len(serials)} phones are attached and none is named; expected one of "
        f"{', '.join(f'adb:{s}' for s in serials)}"
    )


def _server_at_hand() -> bool:
    """Whether an adb server runs, or an adb is installed that starts one."""
    if shutil.which("adb"):
        return True
    host = os.environ.get("ANDROID_ADB_SERVER_HOST", "127.0.0.1")
    port = int(os.environ.get("ANDROID_ADB_SERVER_PORT", "5037"))
    return server_answers(host, port)


def _on(text: str, name: str) -> bool:
    if text not in ("on", "off"):
        raise UsageError(f"{name} is {text!r}; expected on or off")
    return text == "on"


def _seconds(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value > 0:
        raise UsageError(f"{name} is {text!r}; expected seconds, more than 0")
    return value
