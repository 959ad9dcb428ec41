"""Fits kept from one command to the next: beside other caches, one file per table's contents."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latprof.surrogate._conformal import HeldOut
from latprof.surrogate._fit import fit
from latprof.surrogate._surrogate import LabelFit, Surrogate
from latprof.surrogate.compose import Composition
from latprof.surrogate.methods import STORED
from latprof.tables import LatencyTable
from latprof.vocabulary import Target, cache_dir, replace_file

__all__ = ["fit_file"]

#: What a kept fit is made of; nothing else is ever built from a file.
_TYPES = {c.__name__: c for c in (Surrogate, LabelFit, HeldOut, Composition, Target, *STORED)}

#: So many fits are kept: those that were made last.
_KEPT = 50

#: What reading a file that is damaged, or of another version, can raise.
_DAMAGED = (AttributeError, EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile)


def fit_file(path: str | Path, *, method: str = "auto", seed: int = 0) -> Surrogate:
    """``fit`` of the table in a file; the same file is not fitted twice.

    What was fitted lies in ``fits`` of the cache folder, by the checksum of the file's bytes and of
    latprof's own code. A cache that cannot be read or written costs time and nothing else.

    Raises:
        TableError: the file is no table, or has no usable row.
        UsageError, FitError: see ``fit``.
    """
    path = Path(path)
    kept = _place(path, method, seed)
    if kept is not None:
        try:
            return _decoded(kept.read_bytes())
        except _DAMAGED:
            pass  # none there, or of no use: it is made anew
    surrogate = fit(LatencyTable.load(path), method=method, seed=seed)
    if kept is not None:
        try:
            replace_file(kept, _encoded(surrogate))
            newest = sorted(kept.parent.glob("*.npz"), key=lambda p: -p.stat().st_mtime)
            for old in newest[_KEPT:]:
                old.unlink(missing_ok=True)
        except OSError:
            pass  # a full disk or a read-only home
    return surrogate


def _place(path: Path, method: str, seed: int) -> Path | None:
    """Where this fit is kept; None where the table cannot be read or there is no home."""
    code = sorted(Path(__file__).parent.rglob("*.py"))
    try:
        stamps = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in code]
        key = hashlib.sha256(repr((method, seed, stamps, np.__version__)).encode())
        key.update(path.read_bytes())
        return cache_dir() / "fits" / f"{key.hexdigest()}.npz"
    except (OSError, RuntimeError):
        return None


def _encoded(surrogate: Surrogate) -> bytes:
    arrays: dict[str, Any] = {}
    tree = json.dumps(_tree(surrogate, arrays))
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, tree=np.array(tree), **arrays)
    return out.getvalue()


def _decoded(data: bytes) -> Surrogate:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        made = _built(json.loads(str(arrays["tree"])), arrays)
    if not isinstance(made, Surrogate):
        raise TypeError(f"a kept fit is a {type(made).__name__}")
    return made


def _tree(value: Any, arrays: dict[str, Any]) -> Any:
    """The value in JSON, its arrays apart."""
    if isinstance(value, np.ndarray):
        arrays[f"a{len(arrays)}"] = value
        return {"array": f"a{len(arrays) - 1}"}
    if is_dataclass(value):
        inside = {f.name: _tree(getattr(value, f.name), arrays) for f in fields(value)}
        return {"type": type(value).__name__, "fields": inside}
    if isinstance(value, Mapping):
        return {"map": {key: _tree(part, arrays) for key, part in value.items()}}
    if isinstance(value, tuple):
        return [_tree(part, arrays) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def _built(tree: Any, arrays: Any) -> Any:
    """Inverse of ``_tree``."""
    if isinstance(tree, list):
        return tuple(_built(part, arrays) for part in tree)
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return arrays[tree["array"]]
    if "map" in tree:
        return {key: _built(part, arrays) for key, part in tree["map"].items()}
    made = _TYPES[tree["type"]]
    inside = {name: _built(part, arrays) for name, part in tree["fields"].items()}
    return made(**inside)
