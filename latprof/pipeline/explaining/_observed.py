"""Observations: what ops take, where nothing can be tried in their place."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from latprof.devices import OpProfile
from latprof.pipeline.explaining._ops import RunOp
from latprof.pipeline.explaining._result import OpShare
from latprof.pipeline.explaining._verdict import LEAST_SHARE, Verdict
from latprof.vocabulary import format_figure, format_s

__all__ = ["fallen_ops", "observation", "observations", "ranked"]

#: Weights of so many bytes are beyond the caches of one core, and an op that takes so many times
#: as long inside the model as alone waits for them.
_MIN_WEIGHTS, _MIN_RATIO = 2 << 20, 1.3
#: So many ops in a row, each at most so many times the cheapest op of the file, are bound by the
#: calls of ops; no profiler here tells less than a microsecond.
_MIN_ROW, _MAX_TIMES, _MIN_S = 8, 2.0, 1e-6


def observation(
    cause: str, words: str, advice: str, nodes: Sequence[str], takes_s: float, keeps: bool = True
) -> Verdict:
    """A verdict that promises nothing: only what it takes is known."""
    return Verdict(cause, words, advice, tuple(nodes), takes_s, None, None, None, keeps)


def ranked(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Those that save something first, the most first; then those that were only observed."""
    return tuple(sorted(verdicts, key=lambda v: (v.saves_s is None, -v.stake_s)))


def observations(
    ops: Sequence[RunOp],
    shares: Sequence[OpShare],
    whole_s: float,
    verdicts: Sequence[Verdict],
    fallen: Sequence[Verdict] = (),
) -> list[Verdict]:
    """What the profile alone shows, where no verdict is on the same ops already.

    Args:
        ops, shares: of the profile, in its order.
        fallen: of ``fallen_ops``.
    """
    named = {node for verdict in verdicts for node in verdict.nodes}
    found = [*fallen, *_cold_weights(ops, shares), *_small_rows(ops)]
    least_s = LEAST_SHARE * whole_s
    return [v for v in found if v.takes_s >= least_s and not (v.nodes and set(v.nodes) <= named)]


def fallen_ops(profile: OpProfile, ops: Sequence[RunOp], provider: str) -> Iterator[Verdict]:
    """Ops that ran elsewhere than asked for: each brings its inputs there and its result back."""
    kinds: dict[tuple[str, str], list[RunOp]] = defaultdict(list)
    for time, op in zip(profile.ops, ops, strict=True):
        if time.provider and time.provider != provider:
            kinds[op.op, time.provider].append(op)
    for (kind, where), some in kinds.items():
        what = f"{len(some)} {kind} ops run" if len(some) > 1 else f"{kind} runs"
        nodes = dict.fromkeys(name for op in some for name in op.nodes)
        yield observation(
            "outside-provider",
            f"{what} on {where}, not on {provider}",
            f"use an op, a type or an opset that {provider} takes",
            tuple(nodes),
            sum(op.seconds for op in some),
        )


def _cold_weights(ops: Sequence[RunOp], shares: Sequence[OpShare]) -> Iterator[Verdict]:
    """Weights that the rest of the model drives out of the caches before they are used again."""
    for op, share in zip(ops, shares, strict=True):
        work = op.workload
        if (
            work is None
            or share.alone_s is None
            or share.alone_from == "surrogate"
            or work.weight_bytes < _MIN_WEIGHTS
        ):
            continue
        if op.seconds < _MIN_RATIO * share.alone_s:
            continue
        size = format_figure("bytes", work.weight_bytes)
        yield observation(
            "cold-weights",
            f"{size} of weights are read anew at each run: {op.op} takes {format_s(op.seconds)} "
            f"here and {format_s(share.alone_s)} in a loop, where they stay in the caches",
            "make them smaller: fewer channels, or 8 or 4 bits",
            op.nodes,
            op.seconds,
            keeps=False,
        )


def _small_rows(ops: Sequence[RunOp]) -> Iterator[Verdict]:
    """Many ops in a row that compute next to nothing."""
    least_s = max(min((op.seconds for op in ops), default=0.0), _MIN_S)
    for small, row in itertools.groupby(ops, lambda op: op.seconds <= _MAX_TIMES * least_s):
        some = list(row)
        if not small or len(some) < _MIN_ROW:
            continue
        most_s = max(op.seconds for op in some)
        yield observation(
            "launch-bound",
            f"{len(some)} ops in a row take {format_s(most_s)} at most each, and the cheapest op "
            f"of the file takes {format_s(least_s)}: most of that is the call",
            "do their work in fewer ops",
            tuple(dict.fromkeys(name for op in some for name in op.nodes)),
            sum(op.seconds for op in some),
        )
