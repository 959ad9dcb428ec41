"""Budgets of language models: of a prefill, and of a step of decoding."""

from __future__ import annotations

from latprof.pipeline.tokens._targets import TokenTarget, token_targets

__all__ = ["TokenTarget", "token_targets"]
