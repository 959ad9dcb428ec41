"""Trials of a study that several processes take, each trial by one of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import filelock
import optuna
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

__all__ = ["SharedTrials"]

#: The ends of a range, or values to choose from.
Choices = tuple[float, float] | list[str | int | float | bool]
#: Parameters whose range is searched by its logarithm.
_LOGARITHMIC = ("lr",)

#: Seconds between two looks at what other processes have finished.
_POLL_S = 0.5
_STUDY = "latprof"


class SharedTrials:
    """A study in a journal file, made where absent; ``optuna-dashboard`` opens it, too.

    A trial is claimed by a lock on its folder, which ends with its process: what a killed process
    had begun is taken up by the next one.

    Args:
        folder: gets ``study.journal``, ``study.lock`` and a folder per trial.
        homes: of the trials' folders, by number from 1.
        sampler: of the parameters.
        maximized: for each of its values, whether it is better the larger it is.
        storage: address of a database of Optuna, in place of the journal.

    Attributes:
        study: Optuna's.
    """

    def __init__(
        self,
        folder: Path,
        homes: str,
        sampler: BaseSampler,
        *,
        maximized: Sequence[bool] = (False,),
        storage: str | None = None,
    ) -> None:
        self._homes = folder / homes
        self._homes.mkdir(parents=True, exist_ok=True)
        self.turn = filelock.FileLock(folder / "study.lock")
        journal = str(folder / "study.journal")
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            with self.turn:
                self.study = optuna.create_study(
                    storage=storage or JournalStorage(JournalFileBackend(journal)),
                    study_name=_STUDY if storage is None else f"{_STUDY} {folder.name}",
                    sampler=sampler,
                    directions=["maximize" if larger else "minimize" for larger in maximized],
                    load_if_exists=True,
                )
        finally:
            optuna.logging.set_verbosity(before)

    @contextmanager
    def claim(self, count: int, names: Mapping[str, Choices]) -> Iterator[Trial | None]:
        """The next trial to take; None once there are so many, none of them still being taken.

        Args:
            count: of trials.
            names: the parameters: each with its ends, or its values.
        """
        with ExitStack() as held:
            while True:
                with self.turn:  # what is sampled is known before another process samples
                    found, busy = self._claimable(count, held)
                    if found is not None:
                        _suggest(found, names)
                if found is not None or not busy:
                    break
                time.sleep(_POLL_S)
            yield found

    def finished(self) -> list[FrozenTrial]:
        """All finished trials, in the order in which they began."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def home(self, trial_number: int) -> Path:
        """The folder of a trial, whose number counts from 0."""
        return self._homes / str(trial_number + 1)

    def _claimable(self, count: int, held: ExitStack) -> tuple[Trial | None, bool]:
        """(what this process may take, whether others still take some)."""
        trials = self.study.get_trials(deepcopy=False)
        begun = [t for t in trials if t.state == TrialState.RUNNING]
        for frozen in begun:
            if self._lock(frozen.number, held):
                return Trial(self.study, frozen._trial_id), True
        if len(trials) >= count:
            return None, bool(begun)
        trial = self.study.ask()
        self._lock(trial.number, held)
        return trial, True

    def _lock(self, trial_number: int, held: ExitStack) -> bool:
        home = self.home(trial_number)
        home.mkdir(exist_ok=True)
        try:
            held.enter_context(filelock.FileLock(home / ".lock", blocking=False))
        except filelock.Timeout:
            return False
        return True


def _suggest(trial: Trial, names: Mapping[str, Choices]) -> None:
    """Give the trial its parameters; one that has them keeps them."""
    for name, given in names.items():
        if isinstance(given, tuple):
            trial.suggest_float(name, *given, log=name in _LOGARITHMIC)
        else:
            trial.suggest_categorical(name, given)
