"""Small JSON files of ours: with a kind, a format version and a checksum, replaced whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latprof.errors import UsageError
from latprof.vocabulary._files import replace_file

__all__ = ["checksum", "load_json", "save_json"]


def checksum(data: Mapping[str, Any]) -> str:
    """SHA-256 of the data as canonical JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def save_json(path: Path, kind: str, version: int, data: Mapping[str, Any]) -> Path:
    """Write ``data`` so that ``load_json`` knows it for what it is.

    Args:
        kind: what the file holds, in words.
        version: of its format.
        data: JSON-ready.
    """
    file = {"kind": kind, "format": version, "sha256": checksum(data), "data": data}
    return replace_file(path, (json.dumps(file, indent=1) + "\n").encode())


def load_json(path: Path, kind: str, version: int) -> dict[str, Any]:
    """What ``save_json`` wrote.

    Raises:
        UsageError: the file is missing, damaged, or of another kind or version; in one line that
            says what to do.
    """
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
        found = (file["kind"], file["format"])
        data, expected = dict(file["data"]), file["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise UsageError(
            f"{path} does not hold a readable {kind} ({type(exc).__name__}); "
            "delete it to have it made anew"
        ) from exc
    if found != (kind, version):
        raise UsageError(
            f"{path} holds {found[0]!r} of format {found[1]!r}; expected {kind!r} of format "
            f"{version}; delete it to have it made anew"
        )
    if checksum(data) != expected:
        raise UsageError(
            f"{path} is damaged: its checksum does not fit; delete it to have it made anew"
        )
    return data
