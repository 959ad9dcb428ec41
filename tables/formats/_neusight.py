"""The tables of GPU operations published with NeuSight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from latprof.tables._table import LatencyTable
from latprof.tables.formats._collect import (
    Collected,
    by_text,
    one_value,
    read_columns,
    require_columns,
    sizes,
)
from latprof.tables.formats._published import require_dtype
from latprof.vocabulary import Target
from latprof.workloads import Conv2d, MatMul, Workload

__all__ = ["import_neusight"]

#: NeuSight's own spelling, and its own order: (B, M, N) @ (B, N, K), as the grids of its kernels
#: tell, which have a tile of M x K in each block.
_CONV = ("B", "Input_Channel", "Output_Channel", "Kernel_Szie", "Input_Size", "Stride")
_PRODUCT = ("B", "M", "N", "K")

#: A whole operation's kernels are kept in the provenance, the most frequent of them.
_KERNELS_KEPT = 20


def import_neusight(
    path: Path, target: Target | None = None, *, dtype: str = "float32"
) -> LatencyTable:
    """Matrix products (``linear``, ``bmm``) and convolutions (``conv``) of torch: CSV or Parquet
    with ``OPName``, ``Latency`` in milliseconds, and ``B, M, N, K`` or ``B, Input_Channel,
    Output_Channel, Kernel_Szie, Input_Size, Stride, Padding``.

        OPName,Latency,Device,Torch Version,Kernel Name,B,M,N,K
        linear,0.0659,Tesla V100-PCIE-32GB,p2.1.0,volta_sgemm_32x128_tn,1,58,13,141

    The versions of torch, cuDNN and CUDA become the target's; ``provenance`` counts the kernels.
    Other operations, and padding that does not keep the map's size at stride 1, are counted and
    left out.

    Args:
        target: instead of the file's own.
        dtype: of the numbers, which the file does not name.

    Raises:
        TableError: a column is missing, or no row can be kept, or it is of several devices.
    """
    require_dtype(dtype)
    frame = read_columns(path, ("OPName", "Latency"))
    found = Collected(path)
    for name, group in by_text(frame, "OPName"):
        if name not in _READERS:
            found.leave_out(group.index, f"OPName is {name}, which no workload says")
            continue
        group = group.assign(latency_s=pd.to_numeric(group["Latency"], errors="coerce") * 1e-3)
        for line, workload, latency_s in _READERS[str(name)](group, dtype, found):
            found.add(line, workload, latency_s)
    kernels = Counter(frame["Kernel Name"].dropna()) if "Kernel Name" in frame else Counter()
    facts = {"kernels": dict(kernels.most_common(_KERNELS_KEPT))} if kernels else {}
    return found.table(target or _target(path, frame), **facts)


Rows = Iterator[tuple[int, Workload, float]]


def _linear(frame: pd.DataFrame, dtype: str, found: Collected) -> Rows:
    for line, b, m, n, k, latency_s in _columns(frame, _PRODUCT, found):
        yield line, MatMul(m, n, k, batch=b, dtype=dtype), latency_s


def _bmm(frame: pd.DataFrame, dtype: str, found: Collected) -> Rows:
    for line, b, m, n, k, latency_s in _columns(frame, _PRODUCT, found):
        yield line, MatMul(m, n, k, batch=b, weights=False, dtype=dtype), latency_s


def _conv(frame: pd.DataFrame, dtype: str, found: Collected) -> Rows:
    if "Padding" in frame:
        kernel = pd.to_numeric(frame["Kernel_Szie"], errors="coerce")
        other = frame["Padding"] != (kernel - 1) // 2
        found.leave_out(frame.index[other], "Padding is not that of a workload, (kernel - 1) // 2")
        frame = frame[~other]
    for line, b, c_in, c_out, k, size, stride, latency_s in _columns(frame, _CONV, found):
        conv = Conv2d(size, size, c_in, c_out, k, stride, batch=b, dtype=dtype)
        yield line, conv, latency_s


_READERS: dict[str, Callable[[pd.DataFrame, str, Collected], Rows]] = {
    "bmm": _bmm,
    "conv": _conv,
    "linear": _linear,
}


def _columns(
    frame: pd.DataFrame, names: tuple[str, ...], found: Collected
) -> Iterator[tuple[int, ...]]:
    """(line, sizes as named, seconds) of each right row."""
    require_columns(found.path, frame, names)
    right = sizes(frame, names, found)
    columns = (right.index, *(right[name] for name in names), right["latency_s"])
    return zip(*(column.tolist() for column in columns), strict=True)


def _target(path: Path, frame: pd.DataFrame) -> Target:
    settings = {
        "cuda": one_value(path, frame, "CUDA Version").removeprefix("cu"),
        "cudnn": one_value(path, frame, "CUDNN Version"),
    }
    return Target(
        one_value(path, frame, "Device"),
        "torch",
        one_value(path, frame, "Torch Version").removeprefix("p"),
        settings=tuple((k, v) for k, v in sorted(settings.items()) if v != "unknown"),
    )
