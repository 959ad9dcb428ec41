"""The near end of an agent: starts it here or over ssh, asks, and maps what goes wrong."""

from __future__ import annotations

from latprof.devices.remote._agent_device import AgentDevice
from latprof.devices.remote._bootstrap import BOOTSTRAP
from latprof.devices.remote._client import AgentOptions
from latprof.devices.remote._ssh import ssh_command, ssh_hints

__all__ = [
    "BOOTSTRAP",
    "AgentDevice",
    "AgentOptions",
    "ssh_command",
    "ssh_hints",
]
