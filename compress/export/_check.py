"""The check beside an exported file: inputs, and what the network made of them.

An ``.npz`` whose arrays are ``input.NAME`` and ``output.NUMBER``, and ``latprof_check``, which
holds the format's version and a checksum of the others as JSON.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.errors import UsageError
from latprof.vocabulary import replace_file

__all__ = ["Arrays", "Check", "check_path", "load_check", "save_check"]

Arrays = dict[str, NDArray[Any]]

# format history: 1 - the arrays alone
#                 2 - latprof_check with version and sha256
_VERSION = 2
_HEADER = "latprof_check"


@dataclass(frozen=True)
class Check:
    """Inputs by name, and what the network makes of them, outputs in order."""

    inputs: Arrays
    outputs: list[NDArray[Any]]


def check_path(path: Path) -> Path:
    """Where the check of an exported file lies."""
    return path.with_suffix(".check.npz")


def save_check(path: Path, check: Check) -> None:
    """Write the check of the exported file ``path`` beside it."""
    arrays = {f"input.{name}": a for name, a in check.inputs.items()}
    arrays |= {f"output.{i}": a for i, a in enumerate(check.outputs)}
    header = json.dumps({"version": _VERSION, "sha256": _checksum(arrays)})
    whole = io.BytesIO()
    np.savez(whole, **{_HEADER: np.array(header)}, **arrays)  # type: ignore[arg-type]
    replace_file(check_path(path), whole.getvalue())


def load_check(path: Path) -> Check:
    """The check written beside the exported file ``path``.

    Raises:
        UsageError: there is none, it cannot be read, or it is damaged.
    """
    found = check_path(path)
    if not found.is_file():
        raise UsageError(f"{found}: no check can be read (no such file); export the model again")
    try:
        arrays = _read(found)
        if (header := arrays.pop(_HEADER, None)) is not None:
            _verify(header, arrays)
        return _check(arrays)
    except Exception as exc:  # whatever damage makes zipfile, numpy or json raise
        what = str(exc).strip().partition("\n")[0] or type(exc).__name__
        raise UsageError(f"{found}: no check can be read ({what}); export the model again") from exc


def _read(path: Path) -> dict[str, Any]:
    """Every array of the file, whole: ``np.load`` alone leaves the ends of arrays unverified."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is compressed")
            data = io.BytesIO(archive.read(member))
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"{name} is there twice")
            arrays[name] = np.lib.format.read_array(data, allow_pickle=False)
            if data.read(1):
                raise ValueError(f"{name} is longer than its shape says")
    return arrays


def _verify(header: NDArray[Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    stated = json.loads(str(header))
    if stated["version"] != _VERSION:
        raise ValueError(f"its version is {stated['version']!r}; expected at most {_VERSION}")
    if stated["sha256"] != _checksum(arrays):
        raise ValueError("its contents are not those that were written")


def _check(arrays: Mapping[str, NDArray[Any]]) -> Check:
    outputs = sorted(
        (n for n in arrays if re.fullmatch(r"output\.\d+", n)), key=lambda n: int(n[7:])
    )
    inputs = [n for n in arrays if n.startswith("input.")]
    expected = [f"output.{i}" for i in range(len(outputs))]
    if not outputs or outputs != expected or len(inputs) + len(outputs) != len(arrays):
        raise ValueError(f"it holds {', '.join(arrays) or 'nothing'}; expected inputs and outputs")
    return Check(
        {n.removeprefix("input."): arrays[n] for n in inputs}, [arrays[n] for n in outputs]
    )


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
