"""From what may be slow to verdicts: each candidate's options are timed beside its nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from latprof.devices import Job
from latprof.pipeline.explaining import causes
from latprof.pipeline.explaining._ops import RunOp
from latprof.pipeline.explaining._verdict import LEAST_SHARE, Verdict
from latprof.pipeline.explaining.causes import Candidate, Option, merge_candidates
from latprof.pipeline.explaining.graph import (
    Edit,
    Model,
    UnknownShape,
    copied,
    save_model,
    slice_model,
)
from latprof.pipeline.explaining.timed import AloneTimes

__all__ = ["Finding", "Trial", "changed_file", "findings", "trials"]

#: Candidates that are timed, those whose nodes take longest.
_MOST_CANDIDATES = 16
#: What nodes save alone is scaled by what they take inside the model over what they take alone,
#: within these.
_MIN_SCALE, _MAX_SCALE = 0.7, 1.5
#: A gentler option is the advice where it saves this part of the best one.
_GOOD_ENOUGH = 0.7

_FINDERS: tuple[Callable[[Model], Iterator[Candidate]], ...] = (
    causes.dead_branch,
    causes.half,
    causes.casts,
    causes.transposes,
    causes.float_island,
    causes.activation,
    causes.chain,
    causes.one_row,
    causes.kernels,
    causes.resize,
    causes.channels,
)


@dataclass(frozen=True)
class Trial:
    """A candidate as files to be timed.

    Args:
        takes_s: what its ops take inside the model.
        old: its nodes alone; None where all its options leave nothing to run.
        new: one for each option; None where that leaves nothing to run.
    """

    candidate: Candidate
    takes_s: float
    old: Path | None
    new: tuple[Path | None, ...]

    @property
    def jobs(self) -> list[Job]:
        return [path for path in (self.old, *self.new) if path is not None]


@dataclass(frozen=True)
class Finding:
    """A verdict, the option that is its advice, what both come from, and what it saves."""

    verdict: Verdict
    option: Option
    trial: Trial
    saves_s: float


def trials(model: Model, ops: Sequence[RunOp], whole_s: float, folder: Path) -> list[Trial]:
    """Candidates that take long enough to matter, longest first, written as files."""
    found = []
    for candidate in merge_candidates(c for finder in _FINDERS for c in finder(model)):
        ran = _ran(set(candidate.nodes), ops)
        takes_s = sum(op.seconds for op in ran)
        if takes_s >= LEAST_SHARE * whole_s or not ran:  # the runtime may have renamed all of it
            found.append((takes_s or whole_s, takes_s, candidate))
    found.sort(key=lambda one: -one[0])
    made = []
    for number, (_, takes_s, candidate) in enumerate(found[:_MOST_CANDIDATES]):
        trial = _trial(model, candidate, takes_s, folder / f"{number}")
        if trial is not None:
            made.append(trial)
    return made


def _ran(nodes: set[str], ops: Sequence[RunOp]) -> list[RunOp]:
    """The ops that do the work of these nodes, and what the runtime added between those."""
    inside = {i for i, op in enumerate(ops) if nodes & set(op.nodes)}
    added = {i for i, op in enumerate(ops) if not op.nodes}
    after = {i for i in added if _comes_from(i, ops, inside, added)}
    between: set[int] = set()
    for i in sorted(after, reverse=True):
        readers = {j for j, op in enumerate(ops) if i in op.reads}
        if readers and readers <= inside | between:
            between.add(i)
    return [ops[i] for i in sorted(inside | between)]


def _comes_from(number: int, ops: Sequence[RunOp], inside: set[int], added: set[int]) -> bool:
    """Whether all that an added op takes was made inside, by way of added ops or directly."""
    reads = ops[number].reads
    return bool(reads) and all(
        i in inside or (i in added and _comes_from(i, ops, inside, added)) for i in reads
    )


def _trial(model: Model, candidate: Candidate, takes_s: float, stem: Path) -> Trial | None:
    if all(option.empties for option in candidate.options):
        return Trial(candidate, takes_s, None, (None,) * len(candidate.options))
    try:
        old = slice_model(model, candidate.nodes)
    except UnknownShape:
        return None
    new = []
    for i, option in enumerate(candidate.options):
        proto = copied(old)
        option.apply(Edit(model.onnx, proto))
        new.append(None if option.empties else save_model(proto, Path(f"{stem}-{i}.onnx")))
    return Trial(candidate, takes_s, save_model(old, Path(f"{stem}.onnx")), tuple(new))


def findings(
    made: Sequence[Trial], alone: AloneTimes, whole_s: float, call_s: float
) -> Iterator[Finding]:
    """The option of each candidate that is worth it.

    Args:
        call_s: what one call of the runtime costs, which is in every time alone.
    """
    for trial in made:
        options = [
            (option, *saved)
            for option, new in zip(trial.candidate.options, trial.new, strict=True)
            if (saved := _saved(trial, option, new, alone, call_s)) is not None
            and saved[0] >= LEAST_SHARE * whole_s
        ]
        if not options:
            continue
        best_s = max(saves_s for _, saves_s, *_ in options)
        option, saves_s, old_s, new_s = next(
            one for one in options if one[1] >= _GOOD_ENOUGH * best_s
        )
        candidate = trial.candidate
        yield Finding(
            Verdict(
                candidate.cause, candidate.words, option.advice, candidate.nodes,
                trial.takes_s or (old_s or 0.0), old_s, new_s, saves_s, option.keeps,
            ),
            option,
            trial,
            saves_s,
        )  # fmt: skip


def _saved(
    trial: Trial, option: Option, new: Path | None, alone: AloneTimes, call_s: float
) -> tuple[float, float | None, float | None] | None:
    """(predicted saving, the nodes alone, the option alone); None where it is no advice."""
    if new is None or trial.old is None:
        return trial.takes_s, None, None
    if trial.old not in alone or new not in alone:
        return None
    old_s, new_s = alone.seconds(trial.old), alone.seconds(new)
    saved_s = alone.saved_s(trial.old, new, option.proportion)
    own_s = max(old_s - call_s, 0.1 * old_s)
    # What goes with the arithmetic would go at any count; only what is beyond it is a step.
    beyond_s = saved_s - (1 - option.proportion) * own_s
    if saved_s <= 0 or beyond_s <= 0.3 * saved_s:
        return None
    scale = min(max(trial.takes_s / own_s, _MIN_SCALE), _MAX_SCALE) if trial.takes_s else 1.0
    return saved_s * scale, old_s, new_s


def changed_file(model: Model, option: Option, path: Path) -> Path:
    """The whole file with an option applied."""
    proto = copied(model.proto)
    option.apply(Edit(model.onnx, proto))
    return save_model(proto, path)
