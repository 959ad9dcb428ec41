"""Where the phone's ``benchmark_model`` comes from: a file, the cache, or a download."""

from __future__ import annotations

import hashlib
import json
import logging
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from latprof.errors import DeviceError, UsageError
from latprof.vocabulary import cache_dir, replace_file

__all__ = ["DOWNLOADS", "RELEASE", "Tool", "cache_path", "find_tool"]

_log = logging.getLogger("latprof")

#: The release of LiteRT whose tool is downloaded, and where Google keeps them
#: (developers.google.com/edge/litert/next/benchmark).
RELEASE = "2.2.0"
_RELEASES = f"https://storage.googleapis.com/litert/binaries/{RELEASE}"

#: ABI -> (its address, the first digits of its sha256). Google publishes no digest of it; these
#: digits are what google-ai-edge/LiteRT-CLI's tests and edge-compat's device runs show of it. They
#: tell a damaged file and another build. The whole digest is kept with the first download, and
#: what comes later must have it.
DOWNLOADS = {"arm64-v8a": (f"{_RELEASES}/android_arm64/benchmark_model", "f3729eaf")}

#: ELF's e_machine by ABI.
_MACHINES = {"arm64-v8a": 183, "armeabi-v7a": 40, "x86_64": 62, "x86": 3, "riscv64": 243}

_DOWNLOAD_S = 60.0
_KEPT = "kept"  # in the record of digests, beside addresses


@dataclass(frozen=True)
class Tool:
    """The binary and where it came from."""

    data: bytes
    source: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def litert(self) -> bool:
        """Whether it is LiteRT's own tool, which knows other flags than TFLite's."""
        return b"dispatch_library_path" in self.data

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
        given: a file; ``download`` for LiteRT's release; another address; "" for the cache.
        sha256: what it must digest to; "" accepts what DOWNLOADS and the first download say.

    Raises:
        UsageError: there is none, or it is for another ABI or has another digest.
        DeviceError: the download failed.
    """
    address, digits = (given, "")
    if given == "download":
        if abi not in DOWNLOADS:
            raise UsageError(
                f"LiteRT {RELEASE} has no benchmark_model for ABI {abi}; it has one for "
                f"{', '.join(DOWNLOADS)}: build it, and give its path"
            )
        address, digits = DOWNLOADS[abi]
    if "://" in address:
        tool = _download(address, abi)
    else:
        path = Path(address).expanduser() if address else cache_path(abi)
        if not path.is_file():
            raise UsageError(_missing(path, abi, bool(address)))
        tool = Tool(path.read_bytes(), str(path))
    if sha256:
        if tool.sha256 != sha256.lower():
            raise UsageError(
                f"benchmark_model from {tool.source} has sha256 {tool.sha256}; expected {sha256}; "
                "get the right one, or leave benchmark_model_sha256 away"
            )
    elif not tool.sha256.startswith(digits):
        raise UsageError(
            f"benchmark_model from {tool.source} has sha256 {tool.sha256}; LiteRT {RELEASE}'s "
            f"begins with {digits}: download it again, or demand this one with "
            f"--set benchmark_model_sha256={tool.sha256}"
        )
    elif not given or "://" in address:
        _compare_with_first(tool, abi, address)
    _check_abi(tool, abi)
    if "://" in address:
        _keep(tool, abi)
    return tool


def _missing(path: Path, abi: str, given: bool) -> str:
    where = f"no file {path}" if given else f"no benchmark_model for {abi} in {path.parent}"
    fetch = f", or --benchmark-model download for LiteRT {RELEASE}'s" if abi in DOWNLOADS else ""
    return f"{where}; give --benchmark-model PATH of LiteRT's or TFLite's tool for {abi}{fetch}"


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


def _record_path(abi: str) -> Path:
    """The digest of each address's first download, and of the file that is kept."""
    return cache_path(abi).with_name("sha256.json")


def _record(abi: str) -> dict[str, str]:
    path = _record_path(abi)
    if not path.is_file():
        return {}
    try:
        digests = json.loads(path.read_text())
        return {str(address): str(digest) for address, digest in digests.items()}
    except (ValueError, AttributeError) as exc:
        raise UsageError(f"{path} is no record of digests ({exc}); remove it") from exc


def _compare_with_first(tool: Tool, abi: str, address: str) -> None:
    """The same address gives the same file, and the kept file stays as it was."""
    first = _record(abi).get(address or _KEPT, tool.sha256)
    if first != tool.sha256:
        raise UsageError(
            f"benchmark_model from {tool.source} has sha256 {tool.sha256}; the first download had "
            f"{first}: if you trust this one, give --set benchmark_model_sha256={tool.sha256}"
        )


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
    path = replace_file(cache_path(abi), tool.data)
    record = {**_record(abi), tool.source: tool.sha256, _KEPT: tool.sha256}
    replace_file(_record_path(abi), json.dumps(record, indent=1).encode())
    _log.warning("kept %s, sha256 %s", path, tool.sha256)
