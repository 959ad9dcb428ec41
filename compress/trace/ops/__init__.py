"""One file per family of aten ops: how channels pass through each. Importing registers them."""

from __future__ import annotations

from latprof.compress.trace.ops import (
    _attention,
    _contract,
    _convolve,
    _move,
    _normalize,
    _pointwise,
    _products,
    _reduce,
)

__all__ = [
    "_attention",
    "_contract",
    "_convolve",
    "_move",
    "_normalize",
    "_pointwise",
    "_products",
    "_reduce",
]
