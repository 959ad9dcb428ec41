"""Checkpoints: versioned, with a checksum, and replaced whole."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from latprof.errors import UsageError
from latprof.vocabulary import replace_file

__all__ = ["load_state", "save_state"]

#: The first line is this, the format's version and the SHA-256 of what follows, which torch wrote.
_MAGIC = b"latprof-checkpoint"
_VERSION = 1
_HINT = "delete it to begin anew"


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers and names to ``path``; a kill leaves the former file or this one."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    body = buffer.getvalue()
    digest = hashlib.sha256(body).hexdigest().encode()
    replace_file(path, b"%s %d %s\n%s" % (_MAGIC, _VERSION, digest, body))


def load_state(path: Path, map_location: str | torch.device | None = None) -> dict[str, Any]:
    """What ``save_state`` wrote.

    Args:
        map_location: device of the tensors; by default where each was.

    Raises:
        UsageError: the file cannot be read, is damaged, or is of another version.
    """
    try:
        head, _, body = path.read_bytes().partition(b"\n")
    except OSError as exc:
        raise UsageError(f"checkpoint {path} cannot be read: {exc.strerror}") from exc
    magic, version, digest = [*head.split(b" "), b"", b"", b""][:3]
    if magic != _MAGIC and head.startswith(b"PK"):
        raise UsageError(f"checkpoint {path} is of an older format without a checksum; {_HINT}")
    if magic != _MAGIC or digest != hashlib.sha256(body).hexdigest().encode():
        raise UsageError(f"checkpoint {path} is damaged or incomplete; {_HINT}")
    if version != str(_VERSION).encode():
        raise UsageError(
            f"checkpoint {path} has format {version.decode(errors='replace')}, expected "
            f"{_VERSION}: another latprof wrote it; go on with that one, or {_HINT}"
        )
    state: dict[str, Any] = torch.load(
        io.BytesIO(body), weights_only=True, map_location=map_location
    )
    return state
