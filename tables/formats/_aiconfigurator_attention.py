"""Attention among the GPU operations published with aiconfigurator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from latprof.tables.formats._collect import Collected, sizes
from latprof.workloads import DTYPE_BYTES, Attention

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ATTENTION", "ATTENTION_COLUMNS", "add_attention"]

#: Their names of attention, and whether each query sees the keys up to its own place.
ATTENTION = {"context_attention": True, "generation_attention": False}

ATTENTION_COLUMNS = (
    "batch_size", "isl", "step", "num_heads", "num_key_value_heads", "head_dim", "attn_dtype",
    "latency",
)  # fmt: skip

_SIZES = ("batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim")


def add_attention(
    frame: pd.DataFrame, found: Collected, *, causal: bool, dtype: str | None = None
) -> pd.DataFrame:
    """Rows of one kind of attention, which are returned; what no workload can express is left out.

    ``step`` counts the tokens that are in the cache already, ``num_key_value_heads`` of 0 is
    as many as heads.
    """
    import pandas as pd

    def number(name: str, default: float) -> Any:
        column = frame[name] if name in frame else pd.Series(default, frame.index)
        return pd.to_numeric(column, errors="coerce").fillna(default)

    shared = number("num_key_value_heads", 0)
    frame = frame.assign(
        window=number("window_size", 0),
        cached=number("step", 0),
        seconds=number("latency", float("nan")) * 1e-3,
        num_key_value_heads=shared.where(shared > 0, frame["num_heads"]),
    )
    own, cache = frame["attn_dtype"], frame.get("kv_cache_dtype", frame["attn_dtype"])
    left = pd.Series(data=False, index=frame.index)
    for reason, lines in (
        ("attn_dtype is none that a workload has", ~own.isin(DTYPE_BYTES)),
        (f"attn_dtype is not {dtype}, which was asked for", own != (dtype or own)),
        ("kv_cache_dtype is not attn_dtype, and a workload has one type", cache != own),
        ("beams share a cache, which no workload says", number("beam_width", 1) > 1),
    ):
        found.leave_out(frame.index[lines & ~left], reason)
        left |= lines
    frame = sizes(frame[~left], _SIZES, found)
    uneven = frame["num_heads"] % frame["num_key_value_heads"] != 0
    found.leave_out(frame.index[uneven], "num_heads is no multiple of num_key_value_heads")
    frame = frame[~uneven]
    columns = (
        frame.index,
        frame["num_heads"],
        frame["isl"],
        frame["isl"] + frame["cached"].astype(int),
        frame["head_dim"],
        frame["num_heads"] // frame["num_key_value_heads"],
        frame["window"].astype(int),
        frame["batch_size"],
        frame["attn_dtype"],
        frame["seconds"],
    )
    rows = zip(*(c.tolist() for c in columns), strict=True)
    for line, heads, queries, keys, size, each, window, batch, name, seconds in rows:
        workload = Attention(heads, queries, keys, size, each, causal, window, batch, name)
        found.add(line, workload, seconds)
    return frame
