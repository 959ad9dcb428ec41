"""``why``: what each op of a file takes, what slows it, and what to do about it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latprof.devices import Device, open_device
from latprof.errors import UsageError
from latprof.pipeline.explaining._result import WhyResult
from latprof.pipeline.explaining._roofline import TableFigures
from latprof.pipeline.explaining._setup import Setup
from latprof.pipeline.explaining._why_onnx import explain_onnx
from latprof.pipeline.explaining._why_pt2 import explain_pt2
from latprof.pipeline.explaining._why_tflite import explain_tflite
from latprof.tables import LatencyTable

__all__ = ["explain", "why"]

_Explain = Callable[[Path, Setup], WhyResult]
#: {suffix: (runtime, what explains such a file)}.
_EXPLAINED: dict[str, tuple[str, _Explain]] = {
    ".onnx": ("onnxruntime", explain_onnx),
    ".pt2": ("torch", explain_pt2),
    ".tflite": ("tflite", explain_tflite),
}


def why(
    file: str | Path,
    *,
    device: str = "local",
    table: str | Path | LatencyTable | None = None,
    check: bool = False,
    threads: int = 1,
    max_s: float | None = None,
    on_progress: Callable[[str, float], None] | None = None,
    **settings: Any,
) -> WhyResult:
    """Say why ``file`` is slow: what each op takes inside it, and what would be faster.

    Op times are those of the runtime's own profiler, in fresh processes. What may be slow is timed
    on the device beside what to do instead; it is a verdict where that saves 1% of the whole or
    more. What cannot be tried is an observation: only what it takes is known. No torch is needed
    but for .pt2.

    Args:
        file: .onnx, .tflite, or .pt2, of which there are op times and observations only.
        device: one that runs ONNX Runtime, LiteRT or torch: ``local``, ``ssh:HOST``, and for
            .tflite a phone, ``adb:SERIAL``.
        table: latency table of the target, for ops alone and their roofline; without one, ops are
            timed alone on the device.
        check: apply each advice to a copy of the file, and measure it against the file in turns;
            of a .tflite file that is always done.
        threads: of the runtime.
        max_s: seconds that this may take, about: then ops are not timed alone, settings are not
            tried, and fewer verdicts are; None: as long as it takes, half a minute to some minutes.
        on_progress: called with what is being done, and the share of the whole that is over.
        settings: of the device or the runtime, by name.

    Raises:
        UsageError: another suffix, or a device that cannot tell what ops take.
        ModelLoadError: no such file, or not a model.
        TargetMismatchError: the table is of another target.
        WorkloadError: the runtime refuses the file, or cannot tell what its ops take.
        DeviceError: the device is gone.

    Example:
        >>> found = latprof.why("model.onnx", check=True)             # doctest: +SKIP
        >>> found.verdicts[0].words, found.verdicts[0].checked.saves_s  # doctest: +SKIP
        ('a convolution has 97 channels', 0.00187)
    """
    path = Path(file)
    runtime, _ = _explained(path)
    figures = TableFigures(table) if table is not None else None

    def open_with(count: int, changed: dict[str, Any]) -> Device:
        return open_device(device, runtime=runtime, threads=count, **{**settings, **changed})

    return explain(
        path, open_with, threads, figures=figures, check=check, max_s=max_s, on_progress=on_progress
    )


def explain(
    path: Path,
    open_with: Callable[[int, dict[str, Any]], Device],
    threads: int,
    *,
    figures: TableFigures | None = None,
    check: bool = False,
    max_s: float | None = None,
    on_progress: Callable[[str, float], None] | None = None,
) -> WhyResult:
    """As ``why``, on a device that ``open_with`` opens: (threads, settings that differ)."""
    _, explain_file = _explained(path)
    with tempfile.TemporaryDirectory(prefix="latprof-") as folder:
        setup = Setup(open_with, threads, figures, check, max_s, Path(folder), on_progress)
        return explain_file(path, setup)


def _explained(path: Path) -> tuple[str, _Explain]:
    if path.suffix not in _EXPLAINED:
        raise UsageError(
            f"{path}: suffix is {path.suffix!r}; expected .onnx, .pt2 or .tflite, which why "
            "explains"
        )
    return _EXPLAINED[path.suffix]
