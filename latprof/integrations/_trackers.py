"""Scalars of a training, for the trackers that ``accelerate`` knows: TensorBoard, W&B, MLflow."""

from __future__ import annotations

import importlib.util
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import tracking

from latprof.compress import Compressor, status
from latprof.errors import UsageError
from latprof.vocabulary import Closing, load_json, require, save_json

__all__ = ["TensorBoard", "TrackerWarning", "Trackers"]

#: What W&B calls a project, and MLflow an experiment.
_PROJECT = "latprof"
_FILE, _KIND, _VERSION = "trackers.json", "runs of trackers", 1


class TrackerWarning(UserWarning):
    """A tracker failed in the middle of a training, and is no longer written to."""


class Trackers(Closing):
    """Writes a compressor's scalars, and any of one's own, to the trackers named.

        with Trackers(["tensorboard", "wandb"], "runs/first") as trackers:
            ...
            trackers.log(step, comp, loss=float(loss))

    TensorBoard's event files are in ``tensorboard/`` of the folder. W&B and MLflow are used as
    their own environment variables say (``WANDB_MODE``, ``MLFLOW_TRACKING_URI``, ...), in the
    project ``latprof``; a run that goes on in the same folder is the same run there. Source:
    ``accelerate.tracking``.

    Args:
        names: ``tensorboard``, ``wandb``, ``mlflow``, or trackers of accelerate's
            ``GeneralTracker``, not started.
        folder: of the run, whose name the run has.
        config: settings of the run, which W&B and MLflow show beside it.

    Raises:
        UsageError: no such tracker, or one that does not start.
        MissingExtraError: its package is not installed.

    Warns:
        TrackerWarning: it fails later; the others go on.
    """

    def __init__(
        self,
        names: Sequence[str | tracking.GeneralTracker],
        folder: str | Path,
        config: Mapping[str, str] | None = None,
    ) -> None:
        folder = Path(folder).resolve()
        known = folder / _FILE
        ids: dict[str, str] = load_json(known, _KIND, _VERSION) if known.is_file() else {}
        self._trackers: list[Any] = []
        for name in dict.fromkeys(names):
            tracker = _tracker(name, folder, ids)
            try:
                tracker.start()
                self._trackers.append(tracker)
                if config and name in ("wandb", "mlflow"):
                    tracker.store_init_configuration(dict(config))
            except Exception as exc:  # of any kind, by any package
                self.close()
                called = getattr(name, "name", name)
                raise UsageError(f"the tracker {called} does not start: {_line(exc)}") from exc
            if name == "mlflow":
                ids["mlflow"] = tracker.tracker.info.run_id
        if ids:
            folder.mkdir(parents=True, exist_ok=True)
            save_json(known, _KIND, _VERSION, ids)

    def log(self, step: int, comp: Compressor | None = None, **scalars: float) -> None:
        """Write what ``latprof.compress.status`` gives of the compressor, each under ``latprof/``,
        and the scalars by their own names."""
        values = dict(scalars)
        if comp is not None:
            values |= {f"latprof/{name}": value for name, value in status(comp).items()}
        for tracker in tuple(self._trackers):
            try:
                tracker.log(values, step=step)
            except Exception as exc:  # noqa: BLE001  # a training is worth more than its plots
                self._trackers.remove(tracker)
                warnings.warn(
                    f"the tracker {tracker.name} failed and gets no more scalars: {_line(exc)}; "
                    "log.jsonl of the run folder has them all",
                    TrackerWarning,
                    stacklevel=2,
                )

    def close(self) -> None:
        """Write what is still in memory, and end the runs."""
        trackers, self._trackers = self._trackers, []
        for tracker in trackers:
            tracker.finish()


def TensorBoard(folder: str | Path) -> Trackers:  # it was a class
    """``Trackers(["tensorboard"], ...)`` with the event files in ``folder`` itself.

    Args:
        folder: of the event files; ``tensorboard --logdir`` reads it.
    """
    _require_tensorboard()
    return Trackers([tracking.TensorBoardTracker("", str(folder))], folder)


def _tracker(
    name: str | tracking.GeneralTracker, folder: Path, ids: dict[str, str]
) -> tracking.GeneralTracker:
    """A tracker that is not started; ``ids`` are of the runs that go on."""
    if isinstance(name, tracking.GeneralTracker):
        return name
    if name not in _KNOWN:
        raise UsageError(f"tracker is {name!r}; expected one of {', '.join(_KNOWN)}")
    return _KNOWN[name](folder, ids)


def _line(exc: Exception) -> str:
    return f"{type(exc).__name__}: {str(exc).partition(chr(10))[0]}"


def _tensorboard(folder: Path, ids: dict[str, str]) -> tracking.GeneralTracker:
    _require_tensorboard()
    return tracking.TensorBoardTracker("tensorboard", str(folder))


def _wandb(folder: Path, ids: dict[str, str]) -> tracking.GeneralTracker:
    require("wandb", extra="wandb", why="the tracker wandb")
    run = ids.setdefault("wandb", uuid.uuid4().hex)
    folder.mkdir(parents=True, exist_ok=True)  # where it is not there, W&B writes elsewhere
    return tracking.WandBTracker(_PROJECT, name=folder.name, dir=folder, id=run, resume="allow")


def _mlflow(folder: Path, ids: dict[str, str]) -> tracking.GeneralTracker:
    require("mlflow", extra="mlflow", why="the tracker mlflow")
    return tracking.MLflowTracker(_PROJECT, run_id=ids.get("mlflow"), run_name=folder.name)


def _require_tensorboard() -> None:
    if importlib.util.find_spec("tensorboard") is None:
        require("tensorboardX", extra="tensorboard", why="the tracker tensorboard")


_KNOWN: dict[str, Callable[[Path, dict[str, str]], tracking.GeneralTracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
