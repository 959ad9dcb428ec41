"""Where the phone's ``benchmark_model`` comes from: a file, the cache, or a download."""

from __future__ import annotations

import hashlib
import logging
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from latprof.errors import DeviceError, UsageError
from latprof.vocabulary import cache_dir

__all__ = ["DOWNLOADS", "Tool", "cache_path", "find_tool"]

_log = logging.getLogger("latprof")

_NIGHTLY = (
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/"
    "nightly/latest/"
)

#: TensorFlow's own nightly binaries by ABI. They change daily, so no checksum can stand here: the
#: one downloaded is kept, its digest is shown and becomes the target's runtime version.
DOWNLOADS = {
    "arm64-v8a": f"{_NIGHTLY}android_aarch64_benchmark_model",
    "armeabi-v7a": f"{_NIGHTLY}android_arm_benchmark_model",
}

#: ELF's e_machine by ABI.
_MACHINES = {"arm64-v8a": 183, "armeabi-v7a": 40, "x86_64": 62, "x86": 3, "riscv64": 243}

_DOWNLOAD_S = 60.0


@dataclass(frozen=True)
class Tool:
    """The binary and where it came from."""

    data: bytes
    source: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def version(self) -> str:
        """The tool prints none: its digest tells two builds apart."""
        return f"benchmark_model {self.sha256[:12]}"


def cache_path(abi: str) -> Path:
    """Where a download for this ABI is kept."""
    return cache_dir() / "benchmark_model" / abi / "benchmark_model"


def find_tool(abi: str, given: str = "", sha256: str = "") -> Tool:
    """The tool for a phone of this ABI.

    Args:
        given: a file; ``download`` for DOWNLOADS' address; another address; "" for the cache.
        sha256: what it must digest to; "" accepts what comes and shows its digest.

    Raises:
        UsageError: there is none, or it is for another ABI or has another digest.
        DeviceError: the download failed.
    """
    address = DOWNLOADS.get(abi, "") if given == "download" else given
    if given == "download" and not address:
        raise UsageError(
            f"no download of benchmark_model for ABI {abi}; build it, and give its path"
        )
    if "://" in address:
        tool = _download(address, abi)
    else:
        path = Path(address).expanduser() if address else cache_path(abi)
        if not path.is_file():
            raise UsageError(_missing(path, abi, bool(address)))
        tool = Tool(path.read_bytes(), str(path))
    if sha256 and tool.sha256 != sha256.lower():
        raise UsageError(
            f"benchmark_model from {tool.source} has sha256 {tool.sha256}; expected {sha256}; "
            "get the right one, or leave benchmark_model_sha256 away"
        )
    _check_abi(tool, abi)
    if "://" in address:
        _keep(tool, abi)
    return tool


def _missing(path: Path, abi: str, given: bool) -> str:
    where = f"no file {path}" if given else f"no benchmark_model for {abi} in {path.parent}"
    fetch = f", or --benchmark-model download for {DOWNLOADS[abi]}" if abi in DOWNLOADS else ""
    return f"{where}; give --benchmark-model PATH of TFLite's tool built for {abi}{fetch}"


def _download(address: str, abi: str) -> Tool:
    _log.warning("downloading benchmark_model for %s from %s", abi, address)
    try:
        with urllib.request.urlopen(address, timeout=_DOWNLOAD_S) as answer:
            return Tool(answer.read(), address)
    except (OSError, ValueError) as exc:
        reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
        raise DeviceError(
            f"cannot download benchmark_model from {address}: {reason}; check the address, or "
            "fetch it yourself and give --benchmark-model PATH"
        ) from exc


def _check_abi(tool: Tool, abi: str) -> None:
    if tool.data[:4] != b"\x7fELF":
        raise UsageError(
            f"benchmark_model from {tool.source} begins with {tool.data[:4]!r}; expected an ELF "
            f"binary for {abi}"
        )
    machine = int.from_bytes(tool.data[18:20], "little")
    if machine != _MACHINES.get(abi, machine):
        names = {number: name for name, number in _MACHINES.items()}
        raise UsageError(
            f"benchmark_model from {tool.source} is built for {names.get(machine, machine)}; the "
            f"phone's ABI is {abi}: give one built for {abi}"
        )


def _keep(tool: Tool, abi: str) -> None:
    path = cache_path(abi)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_bytes(tool.data)
    partial.replace(path)
    _log.warning("kept %s, sha256 %s", path, tool.sha256)
