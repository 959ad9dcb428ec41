"""The RSA key that phones know this computer by: the user's own, made where there is none."""

from __future__ import annotations

import os
from pathlib import Path

from latprof.errors import DeviceError
from latprof.vocabulary import require

__all__ = ["ensure_key", "key_path"]


def key_path() -> Path:
    """``~/.android/adbkey``, where adb itself keeps it; ANDROID_USER_HOME moves the folder."""
    home = os.environ.get("ANDROID_USER_HOME")
    return Path(home) / "adbkey" if home else Path.home() / ".android" / "adbkey"


def ensure_key(path: Path | None = None) -> tuple[str, str]:
    """(private PEM, public key) of ``path``; generated with mode 0600 where absent.

    The private key is created under its final mode, never readable by others in between.
    """
    path = path or key_path()
    public = path.with_name(path.name + ".pub")
    keygen = require("adb_shell.auth.keygen", extra="adb", why="signing in to a phone")
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # keygen opens the file for writing: it keeps the mode that the file already has
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            keygen.keygen(str(path))
        elif not public.exists():
            keygen.write_public_keyfile(str(path), str(public))
        return path.read_text(), public.read_text()
    except OSError as exc:
        raise DeviceError(
            f"cannot read or make the adb key {path}: {exc.strerror}; expected a file of yours "
            "with mode 0600; set ANDROID_USER_HOME to keep it elsewhere"
        ) from exc
