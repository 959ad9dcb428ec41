"""An exported file against its prediction and against the network it came from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from latprof.compress.export import check_path, load_check
from latprof.compress.shrink import compare_outputs
from latprof.devices import (
    Device,
    Event,
    Sustained,
    Usage,
    compare_until,
    measure_files,
    measure_sustained,
    measure_usage,
    open_target,
    run_inference,
)
from latprof.errors import DeviceError
from latprof.models import model_workloads
from latprof.pipeline.gating import (
    EXIT_CODES,
    MAX_S,
    LimitCheck,
    check_latency,
    check_steady,
    read_bytes,
    read_duration,
    read_latency,
)
from latprof.surrogate import fit, fit_file
from latprof.tables import LatencyTable
from latprof.vocabulary import Target, Timing

__all__ = ["Verification", "verify"]

_log = logging.getLogger("latprof")

#: Of a limit that holds, that does not, or where nobody knows.
_VERDICTS = {True: "ok", False: "regression", None: "undecided"}


@dataclass(frozen=True)
class Verification:
    """What was measured of a file, beside its prediction.

    Args:
        file: what was measured.
        target: device, runtime and settings.
        latency_s, predicted_s: measured and predicted seconds per call.
        max_rel_error: of the outputs, against the reference written at export; None where there
            is none.
        check: that of ``max_latency``, of the steady state where there is one; None where no
            limit was given.
        status: ``ok``, or why ``latency_s`` is not to be trusted: ``noisy`` or ``throttled``.
        detail: one line on it; empty where it is ``ok``.
        bytes: of the file.
        max_bytes: limit on them; None where none was given.
        usage: what the file takes on the device in memory and in energy.
        max_memory: limit on its memory, bytes; None where none was given.
        sustained: its latency over time; None where that was not asked for.
    """

    file: str
    target: str
    latency_s: float
    predicted_s: float
    max_rel_error: float | None
    check: LimitCheck | None = None
    status: str = "ok"
    detail: str = ""
    bytes: int = 0
    max_bytes: float | None = None
    usage: Usage = field(default_factory=lambda: Usage.unknown("not measured"))
    max_memory: float | None = None
    sustained: Sustained | None = None

    def to_dict(self) -> dict[str, Any]:
        sustained = self.sustained.to_dict() if self.sustained else None
        return {**asdict(self), "sustained": sustained}

    @property
    def fits(self) -> bool:
        """Whether the file is no larger than ``max_bytes``."""
        return self.max_bytes is None or self.bytes <= self.max_bytes

    @property
    def fits_memory(self) -> bool | None:
        """Whether it takes no more memory than ``max_memory``; None where the device does not tell
        what it takes."""
        if self.max_memory is None:
            return True
        taken = self.usage.memory_bytes
        return None if taken is None else taken <= self.max_memory

    @property
    def exit_code(self) -> int:
        """0 where all limits hold or none was given, 3 where one does not, 4 where undecided."""
        verdicts = {self.check.verdict if self.check else "ok"}
        verdicts |= {_VERDICTS[self.fits], _VERDICTS[self.fits_memory]}
        return next(EXIT_CODES[v] for v in ("regression", "undecided", "ok") if v in verdicts)


def verify(
    file: str | Path,
    table: str | Path | LatencyTable,
    *,
    device: str = "local",
    max_latency: str | float | None = None,
    max_bytes: str | float | None = None,
    max_memory: str | float | None = None,
    sustained: str | float | None = None,
    on_event: Callable[[Event], None] | None = None,
    **settings: Any,
) -> Verification:
    """Measure ``file`` on ``device`` with the table's runtime, beside what the table predicts; and
    what it takes in memory, and in energy where the device has a counter of it.

    Where ``file`` was written by latprof, its outputs on the device are compared with the outputs
    the network had before the export.

    Args:
        file: .onnx or .tflite.
        table: latency table of the target.
        device: see ``latprof.profile``.
        max_latency: limit such as ``5ms``; it is then measured as ``latprof.gate`` does, and the
            result has a ``check``.
        max_bytes: limit on the size of the file such as ``4MB``.
        max_memory: limit on its peak memory on the device such as ``20MB``.
        sustained: a time such as ``10min``: the file then also runs for so long without a pause,
            and ``max_latency`` is a limit of its steady state. Ctrl-C keeps what was measured.
        on_event: called as measuring goes on.
        settings: of the device or the runtime, by name.

    Raises:
        TargetMismatchError: the device is not the one the table was measured on.
        ModelLoadError: no such file, or the runtime cannot load it.
        DeviceError: it cannot be timed, or its outputs cannot be compared: NaN, infinities or
            shapes that differ from those of the network.

    Example:
        >>> found = latprof.verify("small.onnx", "local.parquet")  # doctest: +SKIP
        >>> found.latency_s, found.predicted_s                     # doctest: +SKIP
        (0.00271, 0.00264)
    """
    surrogate = fit(table) if isinstance(table, LatencyTable) else fit_file(table)
    file = Path(file)
    most = None if max_bytes is None else read_bytes(max_bytes, "max-bytes")
    most_memory = None if max_memory is None else read_bytes(max_memory, "max-memory")
    limit_s = None if max_latency is None else read_latency(max_latency, "max")
    runs_s = None if sustained is None else read_duration(sustained, "sustained")
    target: Target = surrogate.target
    workloads = model_workloads(str(file))
    with open_target(device, target, **settings) as opened:
        check, status, detail = None, "ok", ""
        if limit_s is not None and runs_s is None:
            latency_s, check = _within(opened, file, limit_s, on_event)
        else:
            # the progress of a longer measurement is that of its longest part
            timing = _timed(opened, file, on_event if runs_s is None else None)
            latency_s, status, detail = timing.latency_s, timing.status, timing.detail
        usage = measure_usage(opened, file)
        checked = check_path(file).is_file()
        if checked and opened.no_outputs:
            _log.warning("the outputs of %s are not compared: %s", file, opened.no_outputs)
            checked = False
        error = _largest_error(opened, file) if checked else None
        kept = None
        if runs_s is not None:
            kept = measure_sustained(opened, file, runs_s, on_event=on_event)
            check = None if limit_s is None else check_steady(kept, limit_s)
    predicted = surrogate.predict_model(workloads)
    predicted_s = float(np.sum(predicted.latency_s))
    return Verification(
        str(file),
        str(target),
        latency_s,
        predicted_s,
        error,
        check,
        status,
        detail,
        file.stat().st_size,
        most,
        usage,
        most_memory,
        kept,
    )


def _within(
    device: Device,
    file: Path,
    limit_s: float,
    on_event: Callable[[Event], None] | None,
) -> tuple[float, LimitCheck]:
    """(seconds, whether they are within the limit)."""

    def update(share: float) -> None:
        if on_event is not None:
            on_event(Event("reading", 0, 1, share, MAX_S * (1 - share)))

    found = compare_until(
        device,
        [file],
        lambda found: check_latency(found, 0, limit_s).verdict != "undecided",
        max_s=MAX_S,
        on_round=update,
    )
    return found.latencies_s[0], check_latency(found, 0, limit_s, last=True)


def _timed(device: Device, file: Path, on_event: Callable[[Event], None] | None) -> Timing:
    """A timing beside background load is flagged, not lost.

    Raises:
        DeviceError: there is none.
    """
    (timing,) = measure_files(device, [file], on_event=on_event)
    if not timing.samples_s:
        raise DeviceError(f"{file} could not be timed on {device.target}: {timing.detail}")
    return timing


def _largest_error(device: Device, file: Path) -> float:
    """Largest |got - expected| relative to the largest |expected| of an output.

    Raises:
        DeviceError: the outputs cannot be compared: NaN, infinities or shapes that differ.
    """
    check = load_check(file)
    found = compare_outputs(check.outputs, run_inference(device, file, check.inputs))
    if found.fault:
        raise DeviceError(f"{file}: on the device, {found.fault}")
    return found.error
