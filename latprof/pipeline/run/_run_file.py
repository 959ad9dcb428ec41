"""RUN.toml: what ``latprof compress`` is asked to do."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from latprof.compress import Block, Depth, LowRank, Prune, Quantize, Sparse, TrainSettings
from latprof.errors import UsageError
from latprof.pipeline.run._compression import Settings

__all__ = ["RunFile"]

T = TypeVar("T", bound="Block | TrainSettings")

#: Sections that say what may be done to the network; [prune] where none is given.
_BLOCKS: dict[str, Block] = {
    "prune": Prune(),
    "depth": Depth(),
    "low_rank": LowRank(),
    "sparse": Sparse(),
    "quantise": Quantize(),
}

_TEXT = ("model", "data", "table", "out")


@dataclass(frozen=True)
class RunFile:
    """A run, checked.

    Args:
        model: MODEL string.
        data: ``package.module:callable`` that gives (training Batches, (test inputs, labels)).
        table: latency table of the target.
        out: run folder.
        device: where exports are measured; the table's runtime and threads are used.
        device_settings: of the device and the runtime, by name, as ``--set`` takes them.
        weights: state dict of the pre-trained model, or None where MODEL brings its own.
        settings: budget, phases, distillation, seed, trail.
        text: of the file, to be kept with the run.
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

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check RUN.toml; relative paths in it are relative to it.

        Raises:
            UsageError: not there, not TOML, a key missing, unknown, or of the wrong type.
        """
        try:
            text = path.read_text()
            raw = tomllib.loads(text)
        except OSError as exc:
            raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise UsageError(f"{path} is not TOML: {exc}") from exc
        known = {
            *_TEXT,
            "device",
            "device_settings",
            "weights",
            "budget",
            "int8",
            "save_every_s",
            "seed",
            *_BLOCKS,
            "trail",
            "masks",
            "fine_tune",
            "distillation",
        }
        _refuse_unknown(path, "", raw, known)
        for key in _TEXT:
            if not isinstance(raw.get(key), str):
                raise UsageError(f"{path}: {key} is {raw.get(key)!r}; expected a string")
        try:
            return cls._of(path, raw, text)
        except (TypeError, ValueError) as exc:
            raise UsageError(f"{path}: {exc}") from exc

    @classmethod
    def _of(cls, path: Path, raw: Mapping[str, Any], text: str) -> Self:
        here = path.parent
        settings = Settings()
        budget = raw.get("budget", settings.budget)
        distillation = raw.get("distillation", {})
        _refuse_unknown(path, "distillation.", distillation, {"coefficient", "temperature"})
        return cls(
            model=raw["model"],
            data=raw["data"],
            table=here / raw["table"],
            out=here / raw["out"],
            device=str(raw.get("device", "local")),
            device_settings=_device_settings(path, raw.get("device_settings", {})),
            weights=here / raw["weights"] if "weights" in raw else None,
            settings=Settings(
                budget=budget if isinstance(budget, str) else ", ".join(map(str, budget)),
                blocks=tuple(
                    _section(path, raw, name, block)
                    for name, block in _BLOCKS.items()
                    if name in raw
                )
                or settings.blocks,
                masks=_section(path, raw, "masks", settings.masks),
                fine_tune=_section(path, raw, "fine_tune", settings.fine_tune),
                coefficient=float(distillation.get("coefficient", settings.coefficient)),
                temperature=float(distillation.get("temperature", settings.temperature)),
                seed=int(raw.get("seed", settings.seed)),
                save_every_s=float(raw.get("save_every_s", settings.save_every_s)),
                trail=int(raw.get("trail", settings.trail)),
                int8=_flag(path, raw, "int8", settings.int8),
            ),
            text=text,
        )


def _flag(path: Path, raw: Mapping[str, Any], name: str, default: bool) -> bool:
    value = raw.get(name, default)
    if not isinstance(value, bool):
        raise UsageError(f"{path}: {name} is {value!r}; expected true or false")
    return value


def _device_settings(path: Path, given: Any) -> dict[str, str]:
    """Names and texts; a text that names a file beside RUN.toml becomes its path."""
    if not isinstance(given, Mapping):
        raise UsageError(
            f"{path}: device_settings is {given!r}; expected a [device_settings] section"
        )
    for name, text in given.items():
        if not isinstance(text, str):
            raise UsageError(f"{path}: device_settings.{name} is {text!r}; expected a string")
    return {
        name: str(path.parent / text) if (path.parent / text).is_file() else text
        for name, text in given.items()
    }


def _section(path: Path, raw: Mapping[str, Any], name: str, default: T) -> T:
    """``default`` with the section's values, each of the type of the value it replaces."""
    given = raw.get(name, {})
    now = dataclasses.asdict(default)
    _refuse_unknown(path, f"{name}.", given, set(now))
    try:
        return dataclasses.replace(default, **{k: _like(now[k], v) for k, v in given.items()})
    except (TypeError, ValueError) as exc:
        raise UsageError(f"{path}: [{name}] {exc}") from exc


def _like(now: Any, value: Any) -> Any:
    """The value for what is ``now``: a list is a tuple, one string is a tuple of one, a whole
    number may stand for another; what else it may be is checked where it is held."""
    if type(now) is tuple:
        return (value,) if isinstance(value, str) else tuple(value)
    return float(value) if type(now) is float and type(value) is int else value


def _refuse_unknown(path: Path, prefix: str, given: Any, known: set[str]) -> None:
    if not isinstance(given, Mapping):
        raise UsageError(f"{path}: {prefix[:-1]} is {given!r}; expected a [{prefix[:-1]}] section")
    for key in given:
        if key not in known:
            raise UsageError(
                f"{path}: unknown key {prefix}{key}; expected one of {', '.join(sorted(known))}"
            )
