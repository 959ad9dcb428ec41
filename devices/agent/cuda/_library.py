"""Finding NVIDIA's shared libraries. Part of the agent: standard library only.

The driver's is where the system looks. CUDA's own are there too, or in a toolkit's folder, or in
the packages that pip installs (``nvidia/cuda_nvrtc/lib``, ``nvidia/cu13/lib``).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["load_library", "toolkit_folders"]


def load_library(name: str, versions: tuple[str, ...]) -> ctypes.CDLL | None:
    """``lib<name>.so.<version>`` of the first version that loads, or None; what the system's loader
    finds, by LD_LIBRARY_PATH too, comes before what pip installed."""
    files = [f"lib{name}.so.{version}" for version in versions]
    for path in (*files, *(str(path) for file in files for path in _installed(file))):
        with contextlib.suppress(OSError):
            return ctypes.CDLL(path)
    return None


def toolkit_folders() -> list[Path]:
    """Where CUDA toolkits usually are; the environment's choice first."""
    chosen = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    usual = sorted(Path("/usr/local").glob("cuda*"), reverse=True)
    return [*map(Path, chosen), *usual]


def _installed(file: str) -> Iterator[Path]:
    for folder in map(Path, sys.path):
        yield from folder.glob(f"nvidia/*/lib/{file}")
    for toolkit in toolkit_folders():
        yield from toolkit.glob(f"lib64/{file}")
