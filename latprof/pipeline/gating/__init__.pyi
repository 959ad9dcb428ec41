from ._check import LimitCheck as LimitCheck
from ._check import check_latency as check_latency
from ._check import check_slowdown as check_slowdown
from ._check import check_steady as check_steady
from ._gate import EXIT_CODES as EXIT_CODES
from ._gate import MAX_S as MAX_S
from ._gate import GateResult as GateResult
from ._gate import gate as gate
from ._limits import read_bytes as read_bytes
from ._limits import read_duration as read_duration
from ._limits import read_latency as read_latency
from ._limits import read_share as read_share
from ._runtimes import runtime_of as runtime_of

__all__ = [
    "EXIT_CODES",
    "MAX_S",
    "GateResult",
    "LimitCheck",
    "check_latency",
    "check_slowdown",
    "check_steady",
    "gate",
    "read_bytes",
    "read_duration",
    "read_latency",
    "read_share",
    "runtime_of",
]
