"""What a run reports while it trains: stages, progress, ``log.jsonl``, trackers' scalars."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latprof.compress import Compressor, Tick, status
from latprof.pipeline.run._processes import is_first
from latprof.pipeline.run._time_left import TimeLeft
from latprof.report import log_place, read_log
from latprof.vocabulary import Closing, replace_file

if TYPE_CHECKING:
    from latprof.integrations import Trackers

__all__ = ["Progress", "Watch", "Watcher"]

#: Called at each step with phase, step, total, loss, accuracy, what ``status`` returns, and of the
#: whole run the ``share`` that is done and the seconds that are left (``left_s``, or None).
Progress = Callable[[Mapping[str, Any]], None]

_LOG_EVERY_STEPS = 10
#: Steps over which the loss and accuracy of single batches are averaged.
_AVERAGED_STEPS = 20
#: Seconds between two looks at figures that are on an accelerator.
_FETCH_S = 1.0


@dataclass(frozen=True)
class Watcher:
    """Who hears of a run.

    Args:
        on_progress: called at each training step.
        on_stage: called with what is done now, where it may take more than a second.
        trackers: get the rows of the log as scalars.
        on_start: called once the run folder is this run's, before training.
    """

    on_progress: Progress = lambda row: None
    on_stage: Callable[[str], None] = lambda text: None
    trackers: Trackers | None = None
    on_start: Callable[[], object] = lambda: None

    def watch(
        self, folder: Path, comp: Compressor, left: TimeLeft, metric: str = "accuracy"
    ) -> Watch:
        """Follow a run in its folder."""
        return Watch(folder, comp, left, self.on_progress, self.trackers, metric)


class Watch(Closing):
    """Follows one run; a context in which its files are open.

    Args:
        folder: gets ``log.jsonl``, a row each tenth step; a run that goes on continues it.
        trackers: get the same rows, fine-tuning after the masks.
        metric: what stands under ``accuracy``; rows name it where it is another figure.
    """

    def __init__(
        self,
        folder: Path,
        comp: Compressor,
        left: TimeLeft,
        on_progress: Progress,
        trackers: Trackers | None,
        metric: str = "accuracy",
    ) -> None:
        self._metric = {} if metric == "accuracy" else {"metric": metric}
        self._comp, self._left = comp, left
        self._on_progress, self._trackers = on_progress, trackers
        self._path = folder / "log.jsonl"
        self._file = contextlib.ExitStack()
        self._log: Any = None
        self._means: dict[str, Any] = {}
        self._fetched_at = time.monotonic()
        self._status: dict[str, float] = {}
        self._after = 0

    def begin(self, after: int) -> None:
        """A new phase: averages start anew, and trackers count their steps from ``after``."""
        self._means, self._after = {}, after
        self._status = status(self._comp)  # as the checkpoint of the phase before left it

    def see(self, phase: str, tick: Tick) -> bool:
        """Report this step; returns whether it is one of those that are logged on a CPU."""
        on_cpu = tick.losses.device.type == "cpu"
        for name, tensor in (("loss", tick.losses), ("accuracy", tick.scores)):
            value = float(tensor) if on_cpu else tensor
            mean = self._means.get(name, value)
            self._means[name] = mean + (value - mean) / _AVERAGED_STEPS
        tenth = tick.step % _LOG_EVERY_STEPS == 0 or tick.step == tick.total
        now = time.monotonic()
        late = now - self._fetched_at >= _FETCH_S or tick.step == tick.total
        if not on_cpu and not late:
            return tenth  # an accelerator does not wait for a figure at each step
        self._fetched_at = now
        means = {name: float(mean) for name, mean in self._means.items()}
        due = tenth or not on_cpu
        if due:
            self._status = status(self._comp)
        place = {"phase": phase, "step": tick.step, "total": tick.total}
        row = {**place, **means, **self._metric, **self._status}
        if due:
            self._write(row)
            if self._trackers is not None:
                self._trackers.log(self._after + tick.step, self._comp, **means)
        share, left_s = self._left.see(phase, tick.step)
        self._on_progress({**row, "share": share, "left_s": left_s})
        return tenth

    def close(self) -> None:
        self._file.close()
        if self._trackers is not None:
            self._trackers.close()

    def _write(self, row: Mapping[str, Any]) -> None:
        if not is_first():
            return
        if self._log is None:  # steps that were done but not saved are done again, and logged once
            kept = [r for r in read_log(self._path) if log_place(r) < log_place(row)]
            text = "".join(json.dumps(r) + "\n" for r in kept)
            replace_file(self._path, text.encode())
            self._log = self._file.enter_context(self._path.open("a", encoding="utf-8"))
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()
