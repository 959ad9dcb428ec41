"""Everything that is shipped to the machine that measures, and nothing else.

``remote`` sends this folder, ``latprof.workloads`` and ``latprof.errors`` as source text. So a
module here imports the standard library, numpy, its own runtime's package, and those two.
"""

from __future__ import annotations

from latprof.devices.agent._host import describe_cpu
from latprof.devices.agent._protocol import (
    GPU_RUNTIME_MODULES,
    PROTOCOL_VERSION,
    RUNTIME_MODULES,
    decode_arrays,
    encode_arrays,
)
from latprof.devices.agent._settings import (
    GPU_RUNTIME_SETTINGS,
    GPU_SETTINGS,
    HOST_SETTINGS,
    LIMIT,
    RUNTIME_SETTINGS,
    THREADS,
    Setting,
    read_settings,
)

__all__ = [
    "GPU_RUNTIME_MODULES",
    "GPU_RUNTIME_SETTINGS",
    "GPU_SETTINGS",
    "HOST_SETTINGS",
    "LIMIT",
    "PROTOCOL_VERSION",
    "RUNTIME_MODULES",
    "RUNTIME_SETTINGS",
    "THREADS",
    "Setting",
    "decode_arrays",
    "describe_cpu",
    "encode_arrays",
    "read_settings",
]
