"""Callbacks for other people's training loops, and for watching one's own.

Names load on first use, and each asks for its framework only then.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from latprof.vocabulary import require

if TYPE_CHECKING:
    from latprof.integrations._lightning import LightningCallback
    from latprof.integrations._trackers import TensorBoard, Trackers, TrackerWarning
    from latprof.integrations._transformers import TransformersCallback

#: name -> (module, package it needs, extra that brings it)
_HOMES = {
    "LightningCallback": ("_lightning", "torch", "train"),
    "TensorBoard": ("_trackers", "accelerate", "train"),
    "TrackerWarning": ("_trackers", "accelerate", "train"),
    "Trackers": ("_trackers", "accelerate", "train"),
    "TransformersCallback": ("_transformers", "transformers", "transformers"),
}

__all__ = [
    "LightningCallback",
    "TensorBoard",
    "TrackerWarning",
    "Trackers",
    "TransformersCallback",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'latprof.integrations' has no attribute {name!r}")
    module, package, extra = _HOMES[name]
    require(package, extra=extra, why=name)
    return getattr(importlib.import_module(f"latprof.integrations.{module}"), name)


def __dir__() -> list[str]:
    return list(__all__)
