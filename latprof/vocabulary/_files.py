"""Files that are replaced whole, and how large they are."""

from __future__ import annotations

import os
import tempfile
import zlib
from pathlib import Path

__all__ = ["gzip_bytes", "replace_file"]

_CHUNK_BYTES = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS


def gzip_bytes(path: Path) -> int:
    """Bytes that ``gzip -9`` would make of the file."""
    packer, size = zlib.compressobj(9, wbits=_GZIP), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            size += len(packer.compress(chunk))
    return size + len(packer.flush())


def replace_file(path: Path, data: bytes) -> Path:
    """Put ``data`` at ``path`` so that a crash leaves the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
