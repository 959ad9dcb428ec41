"""The run folder: whose it is, and that one process at a time works in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import filelock
import torch
from torch import nn

from latprof.errors import UsageError
from latprof.vocabulary import load_json, save_json

__all__ = ["claim", "locked", "model_digest", "require_same_run"]

_FILE, _KIND, _VERSION = "fingerprint.json", "run fingerprint", 1


@contextmanager
def locked(folder: Path, *, waits: bool = False) -> Iterator[None]:
    """Work in ``folder`` alone; the lock ends with the process, however it ends.

    Args:
        waits: until another process has ended.

    Raises:
        UsageError: another process works in it, or it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock", blocking=waits)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UsageError(
            f"{folder} is in use by another latprof process; wait until it ends, "
            "or choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


def require_same_run(folder: Path, asked: Mapping[str, str]) -> None:
    """Refuse a folder that holds another run; nothing is written.

    Args:
        asked: everything that the run's outcome follows from, by name, as text: settings, weights,
            data, table, device.

    Raises:
        UsageError: the folder holds another run; it names what differs.
    """
    path = folder / _FILE
    if not path.exists():
        if (folder / "settings.json").exists():
            raise UsageError(
                f"{folder} holds a run of an older latprof, which cannot go on; "
                "choose another folder, or remove this one"
            )
        return
    before = load_json(path, _KIND, _VERSION)
    differing = [k for k in asked if before.get(k) != asked[k]]
    differing += [k for k in before if k not in asked]
    if differing:
        changes = "; ".join(
            f"{name} was {_short(before.get(name))}, now {_short(asked.get(name))}"
            for name in differing
        )
        raise UsageError(
            f"{folder} holds another run ({changes}); choose another folder, or remove this one"
        )


def claim(folder: Path, asked: Mapping[str, str]) -> None:
    """Make the folder that of this run, once nothing stands against training it."""
    require_same_run(folder, asked)
    save_json(folder / _FILE, _KIND, _VERSION, asked)


def model_digest(model: nn.Module) -> str:
    """SHA-256 of all tensors, bit for bit, with their names and types."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(
            tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


def _short(value: object) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
