"""RUN.toml: what ``latprof compress`` is asked to do."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from latprof.compress import (
    Block,
    Depth,
    LowRank,
    Method,
    Prune,
    Quantize,
    Sparse,
    TrainSettings,
)
from latprof.compress.methods import METHODS
from latprof.errors import LatprofError, UsageError
from latprof.pipeline.run._settings import Settings

__all__ = ["RunFile"]

T = TypeVar("T", bound="Block | Method | TrainSettings")

#: Sections that say what may be done to the network; [prune] where none is given.
_BLOCKS: dict[str, Block] = {
    "prune": Prune(),
    "depth": Depth(),
    "low_rank": LowRank(),
    "sparse": Sparse(),
    "quantize": Quantize(),
}
#: Arguments that are functions.
_NOT_IN_FILES = {"validate"}
#: Keys that had another spelling.
_OLD_KEYS = {"quantise": "quantize"}
_TEXT = ("model", "data", "table", "out")
_SIMPLE = (
    *("device", "method", "weights", "budget", "batch"),
    *("int8", "save_every_s", "seed", "trail"),
)
_SECTIONS = ("device_settings", "masks", "fine_tune", "distillation")


@dataclass(frozen=True)
class RunFile:
    """A run, checked.

    Args:
        model: MODEL string.
        data: ``package.module:callable`` or ``file.py:callable`` that returns (training data,
            test data).
        table: latency table of the target.
        out: run folder.
        device: where exports are measured; the table's runtime and threads are used.
        device_settings: of the device and the runtime, by name, as ``--set`` takes them.
        weights: state dict of the pre-trained model, or None where MODEL brings its own.
        settings: budget, phases, distillation, seed, trail.
        text: of the file, to be kept with the run.
        folder: of the file; what it names is relative to it.
    """

    model: str
    data: str
    table: Path
    out: Path
    device: str
    device_settings: Mapping[str, str]
    weights: Path | None
    settings: Settings
    text: str
    folder: Path = Path()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check RUN.toml; relative paths in it are relative to it.

        Raises:
            UsageError: not there, not TOML, a key missing, unknown, of the wrong type or without
                sense.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as exc:
            raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise UsageError(f"{path} is not TOML: {exc}") from exc
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: str, path: Path) -> Self:
        """Check the text of a RUN.toml that is, or will be, at ``path``."""
        try:
            raw = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as exc:
            raise UsageError(f"{path} is not TOML: {exc}") from exc
        raw = {_OLD_KEYS.get(key, key): value for key, value in raw.items()}
        try:
            _refuse_unknown("", raw, {*_TEXT, *_SIMPLE, *_SECTIONS, *_BLOCKS})
            return cls._of(path.parent, raw, text)
        except LatprofError as exc:
            raise UsageError(f"{path}: {exc}") from exc

    @classmethod
    def _of(cls, here: Path, raw: Mapping[str, Any], text: str) -> Self:
        for key in _TEXT:
            _text(key, raw.get(key))
        distillation = raw.get("distillation", {})
        _refuse_unknown("distillation.", distillation, {"coefficient", "temperature"})
        given = {k: raw[k] for k in ("save_every_s", "seed", "trail", "int8", "batch") if k in raw}
        given |= distillation
        if "budget" in raw:
            given["budget"] = _budget(raw["budget"])
        sections = {k: _section(raw, k, getattr(Settings(), k)) for k in ("masks", "fine_tune")}
        blocks = tuple(_section(raw, k, block) for k, block in _BLOCKS.items() if k in raw)
        if blocks:
            sections["blocks"] = blocks
        sections["method"] = _method(raw)
        return cls(
            model=raw["model"],
            data=raw["data"],
            table=here / raw["table"],
            out=here / raw["out"],
            device=_text("device", raw.get("device", "local")),
            device_settings=_device_settings(here, raw.get("device_settings", {})),
            weights=here / _text("weights", raw["weights"]) if "weights" in raw else None,
            settings=_replaced(Settings(), "", given, **sections),
            text=text,
            folder=here,
        )


def _method(raw: Mapping[str, Any]) -> Method:
    """``method = "NAME"`` alone, or a [method] section: ``name``, and its arguments."""
    given = raw.get("method", {})
    section = {"name": given} if isinstance(given, str) else given
    if not isinstance(section, Mapping):
        raise UsageError(f"method is {given!r}; expected a name, or a [method] section")
    name = section.get("name", "masks")
    if not isinstance(name, str) or name not in METHODS:
        raise UsageError(f"method is {name!r}; expected one of {', '.join(sorted(METHODS))}")
    _refuse_unknown("method.", section, {"name", *_arguments(METHODS[name])})
    arguments = {key: value for key, value in section.items() if key != "name"}
    return _section({"method": arguments}, "method", METHODS[name])


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{key} is {value!r}; expected a string")
    return value


def _budget(value: Any) -> str:
    """One budget, or several joined by commas."""
    several = value if isinstance(value, list) else [value]
    for one in several:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise UsageError(
                f"budget is {value!r}; expected a string like '5 ms', or a list of them"
            )
    return ", ".join(one if isinstance(one, str) else f"{one!r} s" for one in several)


def _device_settings(here: Path, given: Any) -> dict[str, str]:
    """Names and texts; a text that names a file beside RUN.toml becomes its path."""
    if not isinstance(given, Mapping):
        raise UsageError(f"device_settings is {given!r}; expected a [device_settings] section")
    texts = {name: _text(f"device_settings.{name}", text) for name, text in given.items()}
    return {
        name: str(here / text) if (here / text).is_file() else text for name, text in texts.items()
    }


def _section(raw: Mapping[str, Any], name: str, default: T) -> T:
    """``default`` with the section's values, each of the type of the value it replaces."""
    given = raw.get(name, {})
    _refuse_unknown(f"{name}.", given, _arguments(default))
    try:
        found: T = _replaced(default, f"{name}.", given)
        return found
    except UsageError as exc:
        raise UsageError(f"[{name}] {exc}") from exc


def _arguments(default: Any) -> set[str]:
    """Names of what a section may set."""
    return {f.name for f in dataclasses.fields(default)} - _NOT_IN_FILES


def _replaced(default: Any, prefix: str, given: Mapping[str, Any], **more: Any) -> Any:
    values = {k: _like(f"{prefix}{k}", getattr(default, k), v) for k, v in given.items()}
    return dataclasses.replace(default, **values, **more)


def _like(key: str, now: Any, value: Any) -> Any:
    """The value, which must be of the type of what it replaces; one string is a tuple of one."""
    if isinstance(now, tuple):
        several = [value] if isinstance(value, str) else value
        if isinstance(several, list):
            return tuple(several)
        raise UsageError(f"{key} is {value!r}; expected a list")
    kinds = (int, float) if isinstance(now, float) else (type(now),)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = {
            dict: "a table",
            bool: "true or false",
            int: "a whole number",
            float: "a number",
            str: "a string",
        }
        raise UsageError(f"{key} is {value!r}; expected {names.get(type(now), 'another type')}")
    return float(value) if isinstance(now, float) else value


def _refuse_unknown(prefix: str, given: Any, known: set[str]) -> None:
    if not isinstance(given, Mapping):
        raise UsageError(f"{prefix[:-1]} is {given!r}; expected a [{prefix[:-1]}] section")
    for key in given:
        if key not in known:
            raise UsageError(
                f"unknown key {prefix}{key}; expected one of {', '.join(sorted(known))}"
            )
