"""Follows every channel through a model, op by op."""

from __future__ import annotations

from latprof.compress.trace._trace import trace

__all__ = [
    "trace",
]
