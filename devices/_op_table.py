"""The table of ops that TFLite's ``benchmark_model`` prints with ``--enable_op_profiling``.

Read from its sources (tflite/profiling/profile_summarizer.cc, xla/tsl/util/stats_calculator.cc):
columns are apart by tabs and named in a line before them; older versions have one more. An op of
the file is ``[what it makes]:NUMBER``, one inside a delegate ``Delegate/KIND:NUMBER``, and all that
a delegate without a profiler runs in one go ``[what it makes]:NUMBER`` of a kind ``TfLite...``.
"""

from __future__ import annotations

from latprof.devices._op_profile import OpTime
from latprof.errors import ProtocolError, WorkloadError

__all__ = ["read_op_table"]

_SECTION = "Operator-wise Profiling Info for Regular Benchmark Runs"
_TABLE = "Run Order"
_COLUMNS = ("[node type]", "[avg ms]", "[times called]", "[Name]")


def read_op_table(text: str, delegate: str) -> tuple[OpTime, ...]:
    """The ops of one run, in the order in which they first ran.

    Args:
        text: what the tool printed.
        delegate: that was asked for.

    Raises:
        ProtocolError: the tool printed no such table, or not all of it.
    """
    lines = text.partition(_SECTION)[2].splitlines()
    start = next((i for i, line in enumerate(lines) if _TABLE in line), None)
    if start is None or start + 2 > len(lines):
        raise _wrong("no table of ops")
    names = _fields(lines[start + 1])
    if missing := [name for name in _COLUMNS if name not in names]:
        raise _wrong(f"no column {missing[0]}")
    kind, average, times, name = (names.index(column) for column in _COLUMNS)
    ops = []
    for line in lines[start + 2 :]:
        fields = _fields(line)
        if not line.strip(" \r"):
            break
        if len(fields) != len(names):
            raise _wrong(f"{' '.join(fields)!r}")
        try:
            ops.append(
                OpTime(
                    fields[name],
                    fields[kind],
                    delegate if _is_delegates(fields[kind], fields[name]) else "builtin",
                    # Parts of a delegate may have ops of the same name, which are one row.
                    float(fields[average]) * 1e-3 * max(1, int(fields[times])),
                )
            )
        except (ValueError, WorkloadError) as exc:
            raise _wrong(f"{' '.join(fields)!r}") from exc
    else:
        raise _wrong("it ends early")
    if not ops:
        raise _wrong("no ops")
    return tuple(ops)


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.split("\t") if field.strip()]


def _is_delegates(kind: str, name: str) -> bool:
    return name.startswith("Delegate/") or (kind.startswith("TfLite") and "Delegate" in kind)


def _wrong(got: str) -> ProtocolError:
    return ProtocolError(
        f"benchmark_model's profile of ops: {got}; expected a table with {', '.join(_COLUMNS)}"
    )
