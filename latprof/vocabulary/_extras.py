"""Imports of packages outside the core, with a one-line error where they are missing."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from latprof.errors import MissingExtraError

__all__ = ["require"]


def require(module: str, *, extra: str, why: str) -> ModuleType:
    """Import ``module``, or raise MissingExtraError naming the extra that brings it.

    An import that fails for another reason than absence is not hidden.
    """
    if module.split(".")[0] == "onnxruntime":  # it would leave files under the user's home
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(module.split(".")[0], extra, why) from exc
