"""How the runtime is set: verdicts on threads and on its layout, measured on the whole file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latprof.devices import Device
from latprof.pipeline.explaining._ops import REORDERS, RunOp
from latprof.pipeline.explaining._verdict import Verdict, VerdictCheck
from latprof.vocabulary import format_s

__all__ = ["settings_verdicts"]

_ROUNDS, _PASSES, _PASS_S = 6, 3, 0.05
#: The layout is tried without where moving into it and out of it takes this part of the time.
_LEAST_REORDERS = 0.03
#: Fused ops are tried apart where they take this part of the time.
_LEAST_FUSED = 0.03
#: One thread is as good as several where it takes at most this many times as long.
_AS_GOOD = 1.03
#: A saving is one above so many of its standard errors.
_SURE = 3.0
_Opener = Callable[[int, dict[str, Any]], Device]


def settings_verdicts(
    device: Device, path: Path, ops: Sequence[RunOp], open_with: _Opener, *, check: bool = False
) -> Iterator[Verdict]:
    """Each setting is tried beside the one that was asked for, in turns.

    Args:
        open_with: (threads, settings) to a device.
        check: also whether ops are dearer fused, which is rare.
    """
    threads = device.target.threads
    if threads > 1:
        with open_with(1, {}) as other:
            old_s, new_s, error_s = _in_turns(device, other, path)
        if new_s + error_s <= _AS_GOOD * old_s:
            words = f"{threads} threads take {format_s(old_s)}, and one takes {format_s(new_s)}"
            yield _verdict("threads", words, "use one thread", old_s, (new_s, error_s), old_s)
    moved = [op for op in ops if op.op in REORDERS]
    moved_s, whole_s = (sum(op.seconds for op in some) for some in (moved, ops))
    if moved_s >= _LEAST_REORDERS * whole_s:
        with open_with(threads, {"graph": "extended"}) as other:
            old_s, new_s, error_s = _in_turns(device, other, path)
        words = f"{len(moved)} times values go into the layout of blocked convolutions or out of it"
        advice = "run it without that layout (graph=extended)"
        if old_s - new_s > _SURE * error_s:
            yield _verdict("layout", words, advice, moved_s, (new_s, error_s), old_s)
    fused = [op for op in ops if len(op.nodes) > 1]
    fused_s = sum(op.seconds for op in fused)
    onnx = device.target.runtime == "onnxruntime"
    if check and onnx and fused_s >= _LEAST_FUSED * whole_s:
        with open_with(threads, {"graph": "basic"}) as other:
            old_s, new_s, error_s = _in_turns(device, other, path)
        kinds = ", ".join(sorted({op.op for op in fused})[:3])
        words = f"{len(fused)} ops ({kinds}) do the work of several each"
        if old_s - new_s > _SURE * error_s:
            advice = "run it without such fusions (graph=basic)"
            yield _verdict("fusion", words, advice, fused_s, (new_s, error_s), old_s)


def _verdict(
    cause: str,
    words: str,
    advice: str,
    takes_s: float,
    new: tuple[float, float],
    old_s: float,
) -> Verdict:
    saves_s = old_s - new[0]
    return Verdict(
        cause, words, advice, (), takes_s, old_s, new[0], saves_s, True,
        VerdictCheck(saves_s, new[1]),
    )  # fmt: skip


def _in_turns(one: Device, other: Device, path: Path) -> tuple[float, float, float]:
    """(seconds of one, of the other, standard error of the difference)."""
    rounds: list[list[float]] = []
    for number in range(_ROUNDS):
        order = (one, other) if number % 2 else (other, one)
        times = {id(d): _fastest(d, path) for d in order}
        rounds.append([times[id(one)], times[id(other)]])
    values = np.array(rounds)
    old_s = float(np.median(values[:, 0]))
    saved = values[:, 0] - values[:, 1]
    saves_s = float(np.median(saved))
    return old_s, old_s - saves_s, float(np.std(saved, ddof=1) / np.sqrt(_ROUNDS))


def _fastest(device: Device, path: Path) -> float:
    readings = list(device.round([path] * _PASSES, measure_s=_PASS_S))
    return min((r.p20_s for r in readings if r.samples_s), default=np.inf)
