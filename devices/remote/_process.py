"""A child process that is ended with everything it started, and that cannot eat the machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

__all__ = ["end_process", "limit_memory", "start_process"]

_END_S = 5.0


def start_process(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """With unbuffered pipes, in a group of its own: Ctrl-C in the terminal is ours to handle."""
    group: dict[str, Any] = (
        {"start_new_session": True}
        if os.name == "posix"
        else {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    )
    pipe = subprocess.PIPE
    return subprocess.Popen(list(command), stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, **group)


def limit_memory(process: subprocess.Popen[bytes]) -> None:
    """Keep its data below what the machine has, so that its allocations fail before the machine
    does; nothing where the system cannot."""
    try:
        import resource

        most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (most, hard))
    except (ImportError, AttributeError, ValueError, OSError):  # not Linux; ended already
        return


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End it and everything that it started in its group, now."""
    if hasattr(os, "killpg"):
        # The group outlives its first process where that has started others.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_END_S)
