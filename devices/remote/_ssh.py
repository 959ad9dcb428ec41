"""Machines over the system's ssh, so that ~/.ssh/config, keys, agents and jump hosts just work."""

from __future__ import annotations

import os
import shlex

from latprof.devices.remote._bootstrap import BOOTSTRAP
from latprof.devices.remote._client import Hint
from latprof.errors import DeviceLostError, UnknownDeviceError

__all__ = ["OPTIONS_VARIABLE", "ssh_command", "ssh_hints"]

#: Options added to every ssh command, as a shell would split them: ``-F config -p 2222``.
OPTIONS_VARIABLE = "LATPROF_SSH_OPTIONS"

#: No prompts: stdin carries the protocol. A dead network is noticed within 15 s.
_OPTIONS = (
    "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15",
    "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3",
)  # fmt: skip


def ssh_command(host: str, python: str) -> list[str]:
    """argv that runs the agent's bootstrap on ``host``."""
    extra = shlex.split(os.environ.get(OPTIONS_VARIABLE, ""))
    remote = f"exec {python} -c {shlex.quote(BOOTSTRAP)}"
    return ["ssh", *_OPTIONS, *extra, "--", host, remote]


def ssh_hints(host: str, python: str) -> list[Hint]:
    """What ssh's last words mean, and what to do about them; the first that fits is said."""
    return [
        (
            "Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED",
            UnknownDeviceError,
            f"its host key is not known, or changed; run ssh {host} once and check it",
        ),
        (
            "Permission denied",
            UnknownDeviceError,
            f"ssh lets nobody in without a password; set a key up with: ssh-copy-id {host}",
        ),
        (
            "Could not resolve hostname",
            UnknownDeviceError,
            f"no host is called {host}; name it in ~/.ssh/config, or use its address",
        ),
        (
            "Connection refused|No route to host|Connection timed out|Operation timed out",
            UnknownDeviceError,
            f"{host} does not answer on its ssh port; is it on, and does sshd run there?",
        ),
        (
            "not found|No such file or directory",
            UnknownDeviceError,
            f"has no {python}; install it there, or name another with the setting "
            "python=/path/to/python3",
        ),
        (
            "Connection to .* closed|Connection reset|Broken pipe|not responding|closed by remote",
            DeviceLostError,
            "the connection dropped; run the same command again to go on",
        ),
    ]
