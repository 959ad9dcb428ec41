"""``bench``: just the latency of a file, with its spread; no table needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latprof.devices import Event, Usage, measure_files, measure_usage, open_device
from latprof.errors import DeviceError
from latprof.pipeline.gating import runtime_of
from latprof.vocabulary import Target, Timing

__all__ = ["BenchResult", "bench"]


@dataclass(frozen=True)
class BenchResult:
    """A file's latency on a device.

    Args:
        file: what was measured.
        target: device, runtime and settings.
        timing: raw samples and the figures read off them; ``timing.latency_s`` is the latency.
        usage: what it takes in memory and in energy.
    """

    file: str
    target: Target
    timing: Timing
    usage: Usage

    @property
    def latency_s(self) -> float:
        """Seconds per call."""
        return self.timing.latency_s

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        timing = self.timing
        return {
            "file": self.file,
            "target": self.target.to_dict(),
            "latency_s": timing.latency_s,
            "min_s": timing.min_s,
            "median_s": timing.median_s,
            "p90_s": timing.p90_s,
            "spread": timing.spread,
            "status": timing.status,
            "detail": timing.detail,
            "rounds": len(timing.samples_s),
            "usage": self.usage.to_dict(),
        }


def bench(
    file: str | Path,
    *,
    device: str = "local",
    runtime: str | None = None,
    threads: int = 1,
    on_event: Callable[[Event], None] | None = None,
    **settings: Any,
) -> BenchResult:
    """Measure an exported file on a device, in rounds over fresh processes: its latency, its peak
    memory, and its energy where the device has a counter of it.

    Args:
        file: .onnx, .tflite or .pt2.
        device: see ``latprof.profile``.
        runtime: what runs it; by default the runtime of the file's format.
        threads: of the runtime.
        on_event: called as measuring goes on.
        settings: of the device or the runtime, by name.

    Raises:
        ModelLoadError: no such file, or the runtime cannot load it.
        DeviceError: it could not be timed.

    Example:
        >>> latprof.bench("model.onnx").latency_s  # doctest: +SKIP
        0.00412
    """
    path = Path(file)
    chosen = runtime_of(path, runtime)
    with open_device(device, runtime=chosen, threads=threads, **settings) as opened:
        (timing,) = measure_files(opened, [path], on_event=on_event)
        if not timing.samples_s:
            raise DeviceError(f"{path} could not be timed on {device}: {timing.detail}")
        return BenchResult(str(path), opened.target, timing, measure_usage(opened, path))
