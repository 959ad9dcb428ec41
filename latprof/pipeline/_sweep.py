"""``sweep``: one RUN.toml with several values of some keys, each combination a run."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latprof.errors import UsageError
from latprof.pipeline._compress import run_config
from latprof.pipeline.run import Job, Progress, RunFile
from latprof.vocabulary import RunResult, require

__all__ = ["SweepResult", "SweptRun", "sweep"]

Value = str | int | float | bool


@dataclass(frozen=True)
class SweptRun:
    """One run of a sweep.

    Args:
        values: of the keys that the sweep changes.
        folder: of the run; ``result.json`` there has all of it.
        result: what it ended in.
    """

    values: Mapping[str, Value]
    folder: Path
    result: RunResult


@dataclass(frozen=True)
class SweepResult:
    """All runs of a sweep, in the order of its grid.

    Args:
        runs: one per combination of values.

    Example:
        >>> found = latprof.sweep("run.toml", {"budget": ["80%", "60%"]})  # doctest: +SKIP
        >>> [run.result.compressed.latency_s for run in found.runs]        # doctest: +SKIP
        [0.000361, 0.000271]
    """

    runs: tuple[SweptRun, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        return {
            "runs": [
                {
                    "values": dict(run.values),
                    "folder": str(run.folder),
                    "metric": run.result.compressed.accuracy,
                    "latency_s": run.result.compressed.latency_s,
                    "met": run.result.met,
                    "file": run.result.compressed.file,
                }
                for run in self.runs
            ]
        }


def sweep(
    run: str | Path,
    grid: Mapping[str, Sequence[Value]] | Sequence[str],
    *,
    storage: str | None = None,
    on_progress: Progress = lambda row: None,
    on_stage: Callable[[str], None] = lambda text: None,
    **settings: Any,
) -> SweepResult:
    """Run a RUN.toml once for each combination of values; the same call goes on after a stop.

    Each run has a folder of its own in the file's ``out``, named by its values. The runs are a
    study of Optuna there: several processes, also of machines that share the folder, may work on
    one sweep, each run being done by one of them; a run that was killed is taken up by the next.

    Args:
        run: RUN.toml.
        grid: {key: values}; dots lead into sections, as in ``masks.epochs``. Or texts like
            ``budget=80%,60%``.
        storage: address of a database of Optuna, such as ``sqlite:///sweep.db``; by default
            ``study.journal`` in the folder.
        on_progress: called at each training step with the figures so far.
        on_stage: called with what is done now.
        settings: of the device, before the file's own.

    Raises:
        MissingExtraError: Optuna is not installed.
        UsageError: a key or value that a RUN.toml cannot have, all before any run.

    Example:
        >>> latprof.sweep("run.toml", {"budget": ["80%", "60%"], "seed": [0, 1]})  # doctest: +SKIP
    """
    require("optuna", extra="search", why="latprof sweep")
    from latprof.pipeline.search import grid_trials

    path, values = Path(run), _values(grid)
    base = RunFile.load(path).out
    names = list(values)
    combinations = [
        dict(zip(names, each, strict=True)) for each in itertools.product(*values.values())
    ]
    configs = [_config(path, base, each) for each in combinations]
    trials = grid_trials(base, values, storage)
    while True:
        with trials.claim(math.prod(map(len, values.values())), values) as trial:
            if trial is None:
                break
            config = configs[combinations.index(dict(trial.params))]
            on_stage(f"run {trial.number + 1} of {len(configs)}: {config.out.name}")
            result = run_config(config, Job.load, on_progress, on_stage, settings)
            trial.set_user_attr("folder", str(config.out))
            trial.set_user_attr("met", result.met)
            trial.set_user_attr(result.metric, result.compressed.accuracy)
            trials.study.tell(trial, result.compressed.latency_s)
    return SweepResult(
        tuple(
            SweptRun(each, config.out, RunResult.load(config.out / "result.json"))
            for each, config in zip(combinations, configs, strict=True)
        )
    )


def _config(path: Path, base: Path, values: Mapping[str, Value]) -> RunFile:
    config = RunFile.load(path, values)
    name = ",".join(f"{key}={value}" for key, value in values.items())
    return replace(config, out=base / name.replace("/", "_").replace(" ", ""))


def _values(grid: Mapping[str, Sequence[Value]] | Sequence[str]) -> dict[str, list[Value]]:
    """{key: values}, each once."""
    if not isinstance(grid, Mapping):
        grid = dict(_parsed(text) for text in grid)
    found = {key: list(dict.fromkeys(values)) for key, values in grid.items()}
    if not found or not all(found.values()):
        raise UsageError(f"grid is {grid!r}; expected keys with values, like budget=80%,60%")
    if "out" in found:
        raise UsageError("grid changes out; expected other keys: each run gets a folder in out")
    return found


def _parsed(text: str) -> tuple[str, list[Value]]:
    key, equals, rest = text.partition("=")
    parts = [part.strip() for part in rest.split(",")]
    if not key.strip() or not equals or not all(parts):
        raise UsageError(f"grid is {text!r}; expected KEY=VALUE,VALUE like budget=80%,60%")
    return key.strip(), [_value(part) for part in parts]


def _value(text: str) -> Value:
    """As TOML has it: a number, true or false; else a string."""
    try:
        found = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return found if isinstance(found, Value) else text
