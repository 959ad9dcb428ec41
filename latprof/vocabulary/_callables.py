"""Users' own callables by name: ``package.module:callable`` or ``file.py:callable``.

Importing and calling them runs their code, which is what they are for.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from latprof.errors import ModelLoadError

__all__ = ["importable", "load_callable", "load_object"]


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Modules in ``folder`` can be imported within, and ``sys.path`` is as it was afterwards."""
    place = str(folder.resolve())
    added = place not in sys.path
    if added:
        sys.path.insert(0, place)
    try:
        yield
    finally:
        if added and place in sys.path:
            sys.path.remove(place)


def load_object(spec: str, folder: Path | None = None) -> Any:
    """What ``package.module:name`` or ``file.py:name`` names; dots in ``name`` go on inside.

    Args:
        folder: where files and modules are looked for first; the working directory by default.

    Raises:
        ModelLoadError: it does not import, or is not there.
    """
    module, _, name = spec.rpartition(":")
    if not module or not name:
        raise ModelLoadError(f"got {spec!r}; expected package.module:callable or file.py:callable")
    folder = folder or Path.cwd()
    file = folder / module if module.endswith(".py") else None
    if file is not None and not file.is_file():
        raise ModelLoadError(f"{spec}: no such file: {file}")
    with importable(folder if file is None else file.parent):
        try:
            found: Any = importlib.import_module(module) if file is None else _run_file(file)
        except Exception as exc:
            lines = str(exc).strip().splitlines() or [""]
            raise ModelLoadError(
                f"{spec}: importing {module} fails: {type(exc).__name__}: {lines[0]}"
            ) from exc
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as exc:
            raise ModelLoadError(f"{spec}: {exc}; expected a callable there") from exc
    return found


def load_callable(spec: str, folder: Path | None = None) -> Callable[..., Any]:
    """As ``load_object``, for something to call; what it imports when called is found likewise.

    Raises:
        ModelLoadError: it does not import, is not there, or cannot be called.
    """
    found = load_object(spec, folder)
    if not callable(found):
        raise ModelLoadError(f"{spec} is a {type(found).__name__}; expected a callable")
    module = spec.rpartition(":")[0]
    base = folder or Path.cwd()
    place = (base / module).parent if module.endswith(".py") else base

    @functools.wraps(found, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        with importable(place):
            return found(*args, **kwargs)

    return call


def _run_file(file: Path) -> ModuleType:
    """The module that a file is, run once for each of its versions."""
    file = file.resolve()
    name = f"{file.stem}@{file}@{file.stat().st_mtime_ns}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, file)
    if found is None or found.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
