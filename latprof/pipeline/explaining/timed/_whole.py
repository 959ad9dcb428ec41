"""Changed copies of a file, each measured against it in turns on the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.compress.shrink import compare_outputs
from latprof.devices import Device, compare_until
from latprof.pipeline.explaining._verdict import VerdictCheck

__all__ = ["Inputs", "Saved", "checked", "runs", "saved_by"]

#: No round begins later than this, and a ratio's standard error that is small enough.
_MAX_S, _CONVERGED = 25.0, 0.003
_TRY_S = 0.005

Inputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Saved:
    """What a copy saves of the whole file.

    Args:
        seconds: below 0 where it costs.
        error_s: standard error of it.
    """

    seconds: float
    error_s: float


def runs(device: Device, path: Path) -> bool:
    """Whether the runtime takes a file."""
    return all(not reading.error for reading in device.round([path], measure_s=_TRY_S))


def saved_by(
    device: Device,
    whole: Path,
    whole_s: float,
    copies: Sequence[Path],
    on_share: Callable[[float], None],
    max_s: float = _MAX_S,
) -> list[Saved]:
    """Of each copy, all in turns with the whole file."""
    if not copies:
        return []
    compared = compare_until(
        device,
        [whole, *copies],
        lambda c: max(c.ratio_errors) <= _CONVERGED,
        max_s=min(max_s, _MAX_S),
        on_round=on_share,
    )
    return [
        Saved(whole_s * (1 - ratio), error * ratio * whole_s)
        for ratio, error in zip(compared.ratios[1:], compared.ratio_errors[1:], strict=True)
    ]


def checked(device: Device, whole: Path, copy: Path, inputs: Inputs, saved: Saved) -> VerdictCheck:
    """With how far the outputs are apart, where the device gives them."""
    error = None
    if inputs and not device.no_outputs:
        before, after = (device.run(path, inputs) for path in (whole, copy))
        error = compare_outputs(
            [np.asarray(o, np.float64) for o in before], [np.asarray(o, np.float64) for o in after]
        ).error
    return VerdictCheck(saved.seconds, saved.error_s, error)
