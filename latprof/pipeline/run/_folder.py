"""The run folder: whose it is, and that one process at a time works in it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import torch
from torch import nn

from latprof.compress import Block
from latprof.errors import UsageError
from latprof.vocabulary import load_json, save_json

__all__ = ["claim", "keep_blocks", "locked", "model_digest", "require_same_run"]

_FILE, _KIND, _VERSION = "fingerprint.json", "run fingerprint", 1
_BLOCKS, _OF_BLOCKS = "blocks.json", ("blocks of a run", 1)


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


def keep_blocks(folder: Path, blocks: Sequence[Block], *, write: bool) -> None:
    """Compare the blocks with those that the folder holds, or write them there.

    Raises:
        UsageError: the folder holds a run of other blocks; it names what differs.
    """
    path = folder / _BLOCKS
    asked = {type(b).__name__: dataclasses.asdict(b) for b in blocks}
    if write:
        save_json(path, *_OF_BLOCKS, asked)
    elif path.is_file():
        before = load_json(path, *_OF_BLOCKS)
        if changes := _changes(before, _plain(asked)):
            raise UsageError(
                f"{folder} holds a run of other blocks ({changes}); restore the scheme or the "
                "blocks that it began with, or choose another folder"
            )


def _plain(blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """As they are in JSON."""
    return {
        name: {key: list(v) if isinstance(v, tuple) else v for key, v in block.items()}
        for name, block in blocks.items()
    }


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs, block by block."""
    found = [f"{name} is new" for name in now if name not in before]
    found += [f"{name} is gone" for name in before if name not in now]
    for name in [name for name in now if name in before]:
        for key, value in now[name].items():
            was = before[name].get(key)
            if was != value:
                found.append(f"{name} {key} {_change(was, value)}")
    return "; ".join(found)


def _change(was: Any, now: Any) -> str:
    if not isinstance(was, list) or not isinstance(now, list):
        return f"was {was!r}, now {now!r}"
    gone, more = ([v for v in a if v not in b] for a, b in ((was, now), (now, was)))
    parts = [f"without {_some(gone)}"] if gone else []
    parts += [f"with {_some(more)}"] if more else []
    return "now " + " and ".join(parts or ["in another order"])


def _some(names: list[Any]) -> str:
    """The first of them, and how many more."""
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(str, names[:3])) + rest
