"""Where latprof keeps what can be made again."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_dir"]


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/latprof``, or ``~/.cache/latprof``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latprof"
