"""What a run trains for, as RUN.toml or Python says it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from latprof.compress import Task, with_functions
from latprof.compress.train import TASKS
from latprof.errors import LatprofError, ModelLoadError, UsageError
from latprof.vocabulary import load_object

__all__ = ["TASK_KEYS", "TaskKeys"]

TASK_KEYS = ("task", "loss", "metric", "higher_is_better")


@dataclass(frozen=True)
class TaskKeys:
    """What the keys ``task``, ``loss``, ``metric`` and ``higher_is_better`` ask for.

    Args:
        task: a name of TASKS, or a Task.
        loss: (outputs, batch) -> scalar; or its name, ``module:function`` or ``file.py:function``.
        metric: (outputs, batch) -> number, or a ``torchmetrics.Metric``; or its name.
        higher_is_better: the direction in which the metric improves; None: it knows.
    """

    task: str | Task = "classification"
    loss: str | Callable[..., Any] | None = None
    metric: Any = None
    higher_is_better: bool | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Check the keys; nothing is imported.

        Raises:
            UsageError: a value that cannot be, by its key.
        """
        keys = cls(**{key: given[key] for key in TASK_KEYS if key in given})
        if not isinstance(keys.task, Task) and keys.task not in TASKS:
            raise UsageError(f"task is {keys.task!r}; expected one of {', '.join(TASKS)}")
        for key, value in (("loss", keys.loss), ("metric", keys.metric)):
            named = isinstance(value, str) and ":" in value
            if not (value is None or named or callable(value)):
                raise UsageError(f"{key} is {value!r}; expected module:function, or a function")
        if keys.higher_is_better not in (None, True, False):
            raise UsageError(
                f"higher_is_better is {keys.higher_is_better!r}; expected true or false"
            )
        return keys

    def resolve(self, folder: Path) -> Task:
        """The task, with what its names import.

        Args:
            folder: where files and modules are looked for first.

        Raises:
            UsageError: a name does not import, or the metric's direction is not known.
        """
        base = TASKS[self.task] if isinstance(self.task, str) else self.task
        loss, metric = _named("loss", self.loss, folder), _named("metric", self.metric, folder)
        try:
            return with_functions(base, loss, metric, self.higher_is_better)
        except LatprofError:
            raise
        except Exception as exc:
            raise UsageError(f"metric {self.metric}: {type(exc).__name__}: {exc}") from exc

    def to_text(self) -> dict[str, str]:
        """{"task": as text} for the fingerprint of a run folder; empty for a classification."""
        if self == TaskKeys():
            return {}
        shown = (f"{key} {_name(getattr(self, key))}" for key in TASK_KEYS)
        return {"task": ", ".join(shown)}


def _named(key: str, value: Any, folder: Path) -> Any:
    if not isinstance(value, str):
        return value
    try:
        found = load_object(value, folder)
    except ModelLoadError as exc:
        raise UsageError(f"{key} {exc}") from exc
    if not callable(found):
        raise UsageError(f"{key} {value} is a {type(found).__name__}; expected a callable")
    return found


def _name(value: Any) -> str:
    if value is None or isinstance(value, (str, bool)):
        return str(value)
    return str(getattr(value, "__qualname__", type(value).__qualname__))
