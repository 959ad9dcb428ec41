"""``gate``: a file against a limit, and against its predecessor, for continuous integration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latprof.devices import Comparison, compare_until, open_device
from latprof.errors import ModelLoadError, UsageError
from latprof.pipeline.gating._check import LimitCheck, check_latency, check_slowdown
from latprof.pipeline.gating._junit import junit_of
from latprof.pipeline.gating._limits import read_latency, read_share
from latprof.pipeline.gating._markdown import markdown_of
from latprof.pipeline.gating._runtimes import runtime_of
from latprof.vocabulary import Target

__all__ = ["EXIT_CODES", "MAX_S", "GateResult", "gate"]

#: No round begins later than this; with the start of the device and the last round, a run takes at
#: most 60 s for a model of 5 ms.
MAX_S = 50.0
#: Of a verdict. 1 and 2 are those of errors.
EXIT_CODES = {"ok": 0, "regression": 3, "undecided": 4}


@dataclass(frozen=True)
class GateResult:
    """What ``latprof gate`` found.

    Args:
        file, against: the file, and its predecessor, "" where there is none.
        target: device, runtime and settings.
        checks: one for each limit.
        comparison: the figures that they are of; ``file`` comes last in it.
    """

    file: str
    against: str
    target: Target
    checks: tuple[LimitCheck, ...]
    comparison: Comparison

    @property
    def verdict(self) -> str:
        """``regression`` where a check says so, else ``undecided`` where one does, or ``ok``."""
        found = {check.verdict for check in self.checks}
        return next(v for v in ("regression", "undecided", "ok") if v in found)

    @property
    def exit_code(self) -> int:
        """0 ok, 3 regression, 4 undecided."""
        return EXIT_CODES[self.verdict]

    @property
    def latency_s(self) -> float:
        """Seconds per call of the file."""
        return self.comparison.latencies_s[-1]

    def markdown(self) -> str:
        """A summary for a pull request."""
        return markdown_of(self)

    def junit(self) -> str:
        """JUnit XML: a test case for each limit."""
        return junit_of(self)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        found = self.comparison
        return {
            "file": self.file,
            "against": self.against,
            "target": self.target.to_dict(),
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "latency_s": self.latency_s,
            "against_latency_s": found.latencies_s[0] if self.against else None,
            "checks": [check.to_dict() for check in self.checks],
            "rounds": found.rounds,
            "rounds_taken": found.taken,
            "beside_load": found.beside_load,
        }


def gate(
    file: str | Path,
    *,
    max_latency: str | float | None = None,
    against: str | Path | None = None,
    max_slowdown: str | float = "3%",
    device: str = "local",
    runtime: str | None = None,
    threads: int = 1,
    on_progress: Callable[[float], None] | None = None,
    **settings: Any,
) -> GateResult:
    """Measure whether ``file`` is fast enough, and how sure that is.

    Each round is a fresh process that times the files in turns. Rounds are added until every
    limit is decided with a confidence of 99%, for at most 50 s; then 95% suffice, and what has less
    is ``undecided``, never a guess.

    Args:
        file: .onnx, .tflite or .pt2.
        max_latency: limit of its latency, such as ``5ms``; a number is seconds.
        against: the file's predecessor.
        max_slowdown: a slowdown against it that is to be found, such as ``3%``. The line is half
            way between equal and this: a file that is slower by 3% is a ``regression``, one that
            is as fast is ``ok``.
        device: see ``latprof.profile``.
        runtime: what runs it; by default the runtime of the file's format.
        threads: of the runtime.
        on_progress: called after each round with the share of the longest time that is over.
        settings: of the device or the runtime, by name.

    Raises:
        UsageError: no limit, or one that is none.
        ModelLoadError: no such file.
        WorkloadError: the runtime refuses a file.
        DeviceError: the device is gone.

    Example:
        >>> found = latprof.gate("model.onnx", max_latency="5ms")  # doctest: +SKIP
        >>> found.verdict, found.exit_code                         # doctest: +SKIP
        ('ok', 0)
    """
    if max_latency is None and against is None:
        raise UsageError("nothing to compare with; expected --max LATENCY, --against FILE or both")
    limit_s = None if max_latency is None else read_latency(max_latency, "max")
    share = read_share(max_slowdown, "max_slowdown")
    paths = [Path(p) for p in (against, file) if p is not None]
    for path in paths:
        if not path.is_file():
            raise ModelLoadError(f"{path} is not a file; expected a model the runtime can load")

    def checks_of(found: Comparison, *, last: bool = False) -> tuple[LimitCheck, ...]:
        made = []
        if limit_s is not None:
            made.append(check_latency(found, len(paths) - 1, limit_s, last=last))
        if against is not None:
            made.append(check_slowdown(found, 1, share, last=last))
        return tuple(made)

    def decided(found: Comparison) -> bool:
        return all(check.verdict != "undecided" for check in checks_of(found))

    chosen = runtime_of(paths[-1], runtime)
    with open_device(device, runtime=chosen, threads=threads, **settings) as opened:
        found = compare_until(opened, paths, decided, max_s=MAX_S, on_round=on_progress)
        checks = checks_of(found, last=True)
        return GateResult(str(file), str(against or ""), opened.target, checks, found)
