"""The tables of GPU operations published with aiconfigurator."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from latprof.tables._table import LatencyTable
from latprof.tables.formats._aiconfigurator_attention import (
    ATTENTION,
    ATTENTION_COLUMNS,
    add_attention,
)
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
from latprof.workloads import DTYPE_BYTES, MatMul

__all__ = ["import_aiconfigurator"]

_COLUMNS = ("gemm_dtype", "m", "n", "k", "latency")


def import_aiconfigurator(
    path: Path, target: Target | None = None, *, dtype: str | None = None
) -> LatencyTable:
    """Matrix products, or attention: CSV or Parquet with ``gemm_dtype``, ``m``, ``n``, ``k`` and
    ``latency`` in milliseconds, and ``device``, ``framework``, ``version`` and ``kernel_source``,
    which the target is made of.

        device,framework,version,op_name,kernel_source,gemm_dtype,m,n,k,latency
        NVIDIA L40S,VLLM,0.24.0,gemm,torch.nn.functional.linear,bfloat16,128,4096,4096,0.05

    Where ``op_name`` is ``context_attention`` or ``generation_attention`` the columns are
    ``batch_size``, ``isl``, ``step``, ``num_heads``, ``num_key_value_heads``, ``head_dim``,
    ``attn_dtype`` and ``latency``, and ``window_size`` and ``kv_cache_dtype`` where there are some.

    Types that no workload has (fp8, fp8_block, nvfp4) and other operations are counted and left
    out.

    Args:
        target: instead of the file's own.
        dtype: only rows of this type.

    Raises:
        TableError: a column is missing, or no row can be kept, or it is of several devices.
    """
    if dtype is not None:
        require_dtype(dtype)
    frame = read_columns(path, ["latency"])
    found = Collected(path)
    kept = []
    if "op_name" in frame:
        for name, group in by_text(frame[frame["op_name"] != "gemm"], "op_name"):
            if name in ATTENTION:
                require_columns(path, frame, ATTENTION_COLUMNS)
                kept.append(add_attention(group, found, causal=ATTENTION[name], dtype=dtype))
            else:
                found.leave_out(group.index, f"op_name is {name}, which no workload says")
        frame = frame[frame["op_name"] == "gemm"]
    if len(frame):
        require_columns(path, frame, _COLUMNS)
        for name, group in by_text(frame, "gemm_dtype"):
            if name not in DTYPE_BYTES:
                reason = f"gemm_dtype is {name}, which no workload has"
            elif dtype not in (None, name):
                reason = f"gemm_dtype is {name}, and {dtype} was asked for"
            else:
                continue
            found.leave_out(group.index, reason)
            frame = frame.drop(group.index)
        frame = sizes(frame, ("m", "n", "k"), found)
        seconds = pd.to_numeric(frame["latency"], errors="coerce") * 1e-3
        columns = (frame.index, frame["m"], frame["n"], frame["k"], frame["gemm_dtype"], seconds)
        rows = zip(*(c.tolist() for c in columns), strict=True)
        for line, m, n, k, name, latency_s in rows:
            found.add(line, MatMul(m, k, n, dtype=name), latency_s)
    return found.table(target or _target(path, pd.concat([*kept, frame])))


def _target(path: Path, frame: pd.DataFrame) -> Target:
    sources: list[str] = (
        frame["kernel_source"].astype(str).tolist() if "kernel_source" in frame else []
    )
    kernels = ", ".join(sorted(set(sources)))
    return Target(
        one_value(path, frame, "device"),
        one_value(path, frame, "framework").lower(),
        one_value(path, frame, "version"),
        settings=(("kernel_source", kernels),) if kernels else (),
    )
