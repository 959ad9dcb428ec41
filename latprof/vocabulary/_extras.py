"""Imports of packages outside the core, with a one-line error where they are missing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from latprof.errors import MissingExtraError, ModelLoadError

__all__ = ["load_callable", "require"]


def require(module: str, *, extra: str, why: str) -> ModuleType:
    """Import ``module``, or raise MissingExtraError naming the extra that brings it.

    An import that fails for another reason than absence is not hidden.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(module.split(".")[0], extra, why) from exc


def load_callable(spec: str) -> Callable[..., Any]:
    """``package.module:callable``, importable from the working directory too.

    Raises:
        ModelLoadError: it does not import, is not there, or cannot be called.
    """
    module, _, name = spec.partition(":")
    if not module or not name:
        raise ModelLoadError(f"got {spec!r}; expected package.module:callable")
    if "" not in sys.path and "." not in sys.path:
        sys.path.append(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as exc:
        what = f"{type(exc).__name__}: {str(exc).splitlines()[0] if str(exc) else ''}"
        raise ModelLoadError(f"{spec} does not import ({what}); is it on the PYTHONPATH?") from exc
    if not callable(found):
        raise ModelLoadError(f"{spec} is a {type(found).__name__}; expected a callable")
    return found  # type: ignore[no-any-return]
