"""How much memory a model takes in this process. Part of the agent: standard library only.

Systems keep the high-water mark of a process's resident memory. Linux can set it back to what is
resident now; elsewhere it only rises, and a model that stays below what came before is not seen.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from pathlib import Path

__all__ = ["HighWaterMark"]

_RESET_MARK = "5"  # written to clear_refs: proc_pid_clear_refs(5)


class HighWaterMark:
    """How far the resident memory of this process rises above what it is when this is made.

    Args:
        proc: the folder of this process in Linux's /proc.

    Attributes:
        missing: why it cannot be told; "" where it can.
    """

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        self._proc, self.missing = proc, ""
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # not glibc
            ctypes.CDLL(None).malloc_trim(0)  # else the model is given what others have freed
        self._is_reset = self._reset()
        self._before = self._read()

    def risen_bytes(self) -> int | None:
        """Bytes; None where ``missing`` says why."""
        now = self._read()
        if self._before is None or now is None:
            return None
        if now == self._before and not self._is_reset:
            self.missing = "the model stayed below the high-water mark that the process had before"
            return None
        return now - self._before

    def _reset(self) -> bool:
        try:
            (self._proc / "clear_refs").write_text(_RESET_MARK)
        except OSError:  # not Linux, or a kernel without it
            return False
        return True

    def _read(self) -> int | None:
        try:
            for line in (self._proc / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        except OSError:  # not Linux
            pass
        if sys.platform == "win32":
            return self._read_windows()
        import resource

        kept = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kept if sys.platform == "darwin" else kept * 1024

    def _read_windows(self) -> int | None:
        try:
            import psutil
        except ModuleNotFoundError:
            self.missing = "on Windows it is read by psutil; pip install psutil there"
            return None
        return int(psutil.Process().memory_info().peak_wset)
