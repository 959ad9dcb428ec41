"""The blocks of a run by the names of their layers, kept in its folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from latprof.compress import SchemeTarget, trace
from latprof.compress.space import layers_of, named_blocks
from latprof.errors import UsageError
from latprof.pipeline.run._settings import Settings
from latprof.surrogate import Surrogate
from latprof.tables import LatencyTable
from latprof.vocabulary import load_json, save_json

__all__ = ["keep_blocks", "named_settings"]

_FILE, _KIND, _VERSION = "blocks.json", "blocks of a run", 1


def named_settings(
    settings: Settings,
    model: nn.Module,
    example_inputs: Any,
    surrogate: Surrogate,
    table: LatencyTable,
) -> Settings:
    """The settings, their scheme called and their predicates asked.

    Raises:
        UsageError: a function fails, or accepts no layer.
    """
    blocks = named_blocks(
        settings.blocks if settings.scheme is None else settings.scheme,
        lambda: layers_of(model, trace(model, example_inputs), surrogate),
        SchemeTarget(table.target, table),
    )
    return replace(settings, blocks=blocks, scheme=None)


def keep_blocks(folder: Path, settings: Settings, *, write: bool) -> None:
    """Compare the blocks with those that the folder holds, or write them there.

    Raises:
        UsageError: the folder holds a run of other blocks; it names what differs.
    """
    path = folder / _FILE
    asked = {type(b).__name__: dataclasses.asdict(b) for b in settings.blocks}
    if write:
        save_json(path, _KIND, _VERSION, asked)
    elif path.is_file():
        before = load_json(path, _KIND, _VERSION)
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
