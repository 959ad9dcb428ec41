"""RUN.toml: what ``latprof compress`` is asked to do."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from latprof.compress import (
    Block,
    Method,
    Scheme,
    TrainSettings,
)
from latprof.compress.methods import METHODS
from latprof.data import COLUMNS, PREFIXES, DataSource, ImageSettings, TextSettings
from latprof.errors import LatprofError, ModelLoadError, UsageError
from latprof.pipeline.run._keep import BLOCKS, SearchSettings, SearchSpace, lowest_budget
from latprof.pipeline.run._settings import Settings
from latprof.pipeline.run._task_keys import TASK_KEYS, TaskKeys
from latprof.vocabulary import load_callable

__all__ = ["RunFile"]

T = TypeVar(
    "T", bound="Block | Method | TrainSettings | SearchSettings | ImageSettings | TextSettings"
)

#: Arguments that are functions.
_NOT_IN_FILES = {"validate"}
#: Keys that had another spelling.
_OLD_KEYS = {"quantise": "quantize"}
_TEXT = ("model", "data", "table", "out")
_SIMPLE = (
    *("device", "method", "weights", "budget", "keep", "objective", "scheme", "batch"),
    *("int8", "why", "save_every_s", "seed", "trail", "test", "classes", "trackers"),
    *TASK_KEYS,
)
_SECTIONS = (
    *("device_settings", "masks", "fine_tune", "distillation", "search"),
    *("columns", "images", "text"),
)
#: Values of ``weights`` that are no file.
_WEIGHTS = ("published", "random")


@dataclass(frozen=True)
class RunFile:
    """A run, checked.

    Args:
        model: MODEL string.
        data: ``package.module:callable`` or ``file.py:callable`` that returns (training data,
            test data); or the name of data, of which ``source`` says the rest.
        table: latency table of the target.
        out: run folder.
        device: where exports are measured; the table's runtime and threads are used.
        device_settings: of the device and the runtime, by name, as ``--set`` takes them.
        weights: state dict of the pre-trained model, ``published``, ``random``, or None: those
            that MODEL brings, published ones where its library has them.
        settings: budget, phases, distillation, seed, trail.
        text: of the file, to be kept with the run.
        folder: of the file; what it names is relative to it.
        task: what is trained for.
        classes: outputs of the model's head; None: as MODEL has them.
        source: of data by name.
        trackers: names of trackers, which get the figures of the training.
        finish: networks of the trail that are fine-tuned too; no key of the file.
    """

    model: str
    data: str
    table: Path
    out: Path
    device: str
    device_settings: Mapping[str, str]
    weights: Path | str | None
    settings: Settings
    text: str
    folder: Path = Path()
    task: TaskKeys = field(default_factory=TaskKeys)
    classes: int | None = None
    source: DataSource | None = None
    trackers: tuple[Any, ...] = ()
    finish: tuple[str, ...] = ()

    @property
    def is_published(self) -> bool:
        """Whether a library's published weights are used."""
        return self.weights is None or self.weights == "published"

    @classmethod
    def load(cls, path: Path, changes: Mapping[str, Any] | None = None) -> Self:
        """Read and check RUN.toml; relative paths in it are relative to it.

        Args:
            changes: values of keys in place of the file's; dots lead into sections.

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
        return cls.parse(text, path, changes)

    @classmethod
    def parse(cls, text: str, path: Path, changes: Mapping[str, Any] | None = None) -> Self:
        """Check the text of a RUN.toml that is, or will be, at ``path``; see ``load``."""
        try:
            raw = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as exc:
            raise UsageError(f"{path} is not TOML: {exc}") from exc
        raw = {_OLD_KEYS.get(key, key): value for key, value in raw.items()}
        for key, value in (changes or {}).items():
            _change(path, raw, key, value)
            text = f"# changed: {key} = {value!r}\n{text}"
        try:
            _refuse_unknown("", raw, {*_TEXT, *_SIMPLE, *_SECTIONS, *BLOCKS})
            return cls._of(path.parent, raw, text)
        except LatprofError as exc:
            raise UsageError(f"{path}: {exc}") from exc

    @classmethod
    def of(cls, keys: Mapping[str, Any], here: Path) -> Self:
        """The same of Python values, by the names of the keys; ``blocks`` is a list of them, or a
        scheme.

        Raises:
            UsageError: as ``load``.
        """
        known = {*_TEXT, *_SIMPLE, *_SECTIONS, *BLOCKS, "blocks"}
        _refuse_unknown("", keys, known)
        paths = ("table", "out", "weights")
        texts = {k: str(keys[k]) for k in paths if isinstance(keys.get(k), Path)}
        return cls._of(here, {**keys, **texts}, "")

    @classmethod
    def _of(cls, here: Path, raw: Mapping[str, Any], text: str) -> Self:
        for key in _TEXT:
            _text(key, raw.get(key))
        distillation = raw.get("distillation", {})
        _refuse_unknown("distillation.", distillation, {"coefficient", "temperature"})
        given = {
            k: raw[k] for k in ("save_every_s", "seed", "trail", "int8", "batch", "why") if k in raw
        }
        given |= distillation
        if "budget" in raw:
            given["budget"] = _budget(raw["budget"])
        sections: dict[str, Any] = _search(raw)
        sections |= {k: _section(raw, k, getattr(Settings(), k)) for k in ("masks", "fine_tune")}
        sections |= _blocks(here, raw)
        sections["method"] = _method(raw)
        return cls(
            model=raw["model"],
            data=raw["data"],
            table=here / raw["table"],
            out=here / raw["out"],
            device=_text("device", raw.get("device", "local")),
            device_settings=_device_settings(here, raw.get("device_settings", {})),
            weights=_weights(here, raw.get("weights")),
            settings=_replaced(Settings(), "", given, **sections),
            text=text,
            folder=here,
            task=TaskKeys.of(raw),
            classes=_classes(raw.get("classes")),
            source=_source(here, raw),
            trackers=_like("trackers", (), raw.get("trackers", [])),
        )


def _change(path: Path, raw: dict[str, Any], key: str, value: Any) -> None:
    """Put a value in place of the file's."""
    *sections, last = key.split(".")
    inner: Any = raw
    for section in sections:
        inner = inner.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{path}: {section} of {key} is {inner!r}; expected a section")
    inner[last] = value


def _blocks(here: Path, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The blocks, or the scheme that returns them; empty where neither is given."""
    given = raw.get("blocks", ())
    scheme: str | Scheme | None = raw.get("scheme", given if callable(given) else None)
    blocks = () if callable(given) else tuple(given)
    sections = [key for key in BLOCKS if key in raw]
    if scheme is not None:
        if blocks or sections:
            other = f"[{sections[0]}]" if sections else "blocks"
            raise UsageError(f"scheme and {other} are both given; expected one of them")
        if callable(scheme):
            return {"scheme": scheme}
        try:
            return {"scheme": load_callable(_text("scheme", scheme), here)}
        except ModelLoadError as exc:
            raise UsageError(f"scheme {exc}") from exc
    blocks += tuple(_section(raw, key, BLOCKS[key]) for key in sections)
    return {"blocks": blocks} if blocks else {}


def _weights(here: Path, given: Any) -> Path | str | None:
    return given if given is None or given in _WEIGHTS else here / _text("weights", given)


def _classes(given: Any) -> int | None:
    if given is not None and (type(given) is not int or given < 1):
        raise UsageError(f"classes is {given!r}; expected a whole number >= 1")
    return given


def _source(here: Path, raw: Mapping[str, Any]) -> DataSource | None:
    """Of data by name; None where it is a callable's."""
    columns = raw.get("columns", {})
    _refuse_unknown("columns.", columns, set(COLUMNS))
    images, text = _section(raw, "images", ImageSettings()), _section(raw, "text", TextSettings())
    if raw["data"].partition(":")[0] not in PREFIXES:
        unused = [key for key in ("test", "columns", "images", "text") if key in raw]
        if unused:
            names = ", ".join(f"{prefix}:" for prefix in PREFIXES)
            raise UsageError(f"{unused[0]} is for data that begins with one of {names}")
        return None
    return DataSource(
        train=raw["data"],
        test=_text("test", raw["test"]) if "test" in raw else None,
        columns={name: _text(f"columns.{name}", value) for name, value in columns.items()},
        images=images,
        text=text,
        folder=here,
        regression=raw.get("task") == "regression",
        seed=raw.get("seed", 0),
    )


def _method(raw: Mapping[str, Any]) -> Method:
    """``method = "NAME"`` alone, or a [method] section: ``name``, and its arguments."""
    given = raw.get("method", {})
    if isinstance(given, Method):
        return given
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


def _search(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What a search keeps, its objective, and how it samples; empty where none is asked for."""
    search = _search_section(raw)
    if "keep" not in raw:
        for key in ("objective", "search"):
            if key in raw:
                raise UsageError(f"{key} without keep; expected keep = '-1%' beside it")
        return {}
    if "budget" in raw:
        raise UsageError("keep and budget are both given; expected one of them")
    keep, objective = raw["keep"], raw.get("objective", "latency")
    if isinstance(keep, bool) or not isinstance(keep, str | int | float) or keep == "":
        raise UsageError(f"keep is {keep!r}; expected a string like '-1%'")
    if isinstance(objective, list):
        objective = tuple(objective) if len(objective) > 1 else next(iter(objective), "")
    for one in objective if isinstance(objective, tuple) else (objective,):
        if not callable(one):
            _text("objective", one)
    return {
        "keep": str(keep),
        "objective": objective,
        "budget": lowest_budget(objective),
        "search": search,
    }


def _search_section(raw: Mapping[str, Any]) -> SearchSettings:
    """[search], with [search.space] in it."""
    given = raw.get("search", {})
    if isinstance(given, Mapping) and not isinstance(given.get("space", {}), SearchSpace):
        space = SearchSpace.of(given.get("space", {}))
        rest = {key: value for key, value in given.items() if key != "space"}
        return dataclasses.replace(
            _section({"search": rest}, "search", SearchSettings()), space=space
        )
    return _section(raw, "search", SearchSettings())


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
    if isinstance(given, type(default)):
        return given
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
