"""From ``adb:SERIAL/CLUSTER`` and settings to a phone."""

from __future__ import annotations

import functools
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

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
from latprof.devices.adb._settings import PHONE_SETTINGS, PhoneSettings
from latprof.devices.adb._tool import DOWNLOADS, cache_path
from latprof.devices.adb._transport import Transport
from latprof.devices.agent import read_settings
from latprof.errors import LatprofError, UnknownDeviceError
from latprof.vocabulary import require

if TYPE_CHECKING:
    from latprof.devices.adb._device import AdbDevice

__all__ = ["list_phones", "open_phone"]

_log = logging.getLogger("latprof")


def open_phone(
    spec: str,
    *,
    runtime: str = "tflite",
    threads: int = 1,
    limit_s: float = 60.0,
    **settings: object,
) -> AdbDevice:
    """Open a phone by its spec.

    Args:
        spec: ``adb:SERIAL``, ``adb:HOST:PORT`` or ``adb:`` for the only phone there is; each may
            end in ``/CLUSTER``.
        settings: PHONE_SETTINGS by name.

    Raises:
        UnknownDeviceError: no such phone, or several where one was to be named.
        UsageError: a setting that phones do not have, or a value it cannot take.
        DeviceError: the phone does not answer.
    """
    if runtime != "tflite":
        raise UnknownDeviceError(f"runtime is {runtime!r}; phones run tflite: --runtime tflite")
    values = read_settings(settings, PHONE_SETTINGS, spec)
    serial, _, cluster = spec.removeprefix("adb").removeprefix(":").partition("/")
    key = Path(values.pop("key")).expanduser() if "key" in values else None
    connect = _connector(serial, values.pop("backend", "auto"), key, connect_s=5.0)
    require("flatbuffers", extra="adb", why="writing models for a phone")
    from latprof.devices.adb._device import AdbDevice

    npu = {name: values.pop(name) for name in NPU_FLAGS if name in values}
    chosen = {"cluster": cluster, "npu": npu, **values}
    return AdbDevice(connect, PhoneSettings(threads=threads, limit_s=limit_s, **chosen))


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
