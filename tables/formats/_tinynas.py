"""The convolution latencies published with TinyNAS for TensorRT."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from latprof.errors import TableError
from latprof.tables._table import LatencyTable
from latprof.tables.formats._published import at_line, published_table, require_dtype
from latprof.tables.formats._text import read_text, whole_number
from latprof.vocabulary import Measurement, Target
from latprof.workloads import workload_from_dict

__all__ = ["import_tinynas_trt"]

_LINE = re.compile(
    r"\{(?P<type>\w+),(?P<batch>\d+),(?P<c_in>\d+),(?P<h>\d+),(?P<w>\d+),(?P<c_out>\d+),"
    r"(?P<kernel>\d+),(?P<stride>\d+),(?P<fused>[01])\}\s+(?P<ms>\S+)",
    re.ASCII,
)

#: What the published files call the type of numbers, each in its name: conv_fp16.txt.
_DTYPES = {"fp32": "float32", "fp16": "float16", "int8": "int8"}


def import_tinynas_trt(
    path: Path, target: Target, *, fused: bool = False, dtype: str | None = None
) -> LatencyTable:
    """Read one line per shape:

        {type,batch,c_in,h,w,c_out,kernel,stride,fused} milliseconds

    A latency of -1 was not measured and is left out; ``provenance`` counts them. The file holds
    each shape alone and fused with what follows it: two targets, told apart by ``settings``.

    Args:
        fused: which of the two.
        dtype: of the convolutions; by default what the file's name says (fp32, fp16 or int8), else
            the target's precision. The target's precision becomes the same, so that tables of
            different types never merge.

    Raises:
        TableError: naming the line.
    """
    dtype = dtype or _dtype_of_name(path) or target.precision
    require_dtype(dtype)
    kept, missing = [], 0
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None or found["type"] not in ("Regular", "Depthwise"):
            raise TableError(
                f"{path}: line {number} is {line[:60]!r}; expected "
                "{Regular|Depthwise,batch,c_in,h,w,c_out,kernel,stride,fused} ms"
            )
        if (found["fused"] == "1") != fused:
            continue
        if found["ms"] == "-1":
            missing += 1
            continue
        row = {**found.groupdict(), "dtype": dtype}
        kept.append((number, at_line(path, number, _measurement, row)))
    target = replace(target, settings=tuple(sorted({*target.settings, ("fused", str(fused))})))
    return published_table(path, target, kept, not_measured=missing)


def _dtype_of_name(path: Path) -> str | None:
    named = [dtype for word, dtype in _DTYPES.items() if word in path.stem.lower()]
    return named[0] if len(named) == 1 else None


def _measurement(row: dict[str, str]) -> Measurement:
    names = ("batch", "c_in", "h", "w", "c_out", "kernel", "stride")
    sizes = {name: whole_number(name, row[name]) for name in names}
    groups = sizes["c_in"] if row["type"] == "Depthwise" else 1
    workload = workload_from_dict(
        {"kind": "conv2d", **sizes, "groups": groups, "dtype": row["dtype"]}
    )
    return Measurement(workload=workload, samples_s=((float(row["ms"]) * 1e-3,),))
