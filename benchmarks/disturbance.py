"""Are disturbed measurements noticed?

A profile runs while a CPU hog on every core is switched on for known windows. A reading is
contaminated where the hog ran for at least half of it, clean where the hog did not run at all. A
contaminated reading is caught where it was taken again, or its row is flagged. Clean rows flagged
are counted in a second profile of the same shapes, without a hog.

    python benchmarks/disturbance.py [--shapes 60]

The last line is one JSON object. On a machine that others use, their work counts as clean here, so
the share of clean rows flagged is an upper bound; ``others_busy`` says how busy they were.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import random
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from latprof import Measurement, Target
from latprof.devices import Device, Job, Reading, WaitBudget, open_device, profile
from latprof.workloads import Conv2d

sys.path.insert(0, str(Path(__file__).parent))
from _background_load import BackgroundLoad

_ON_S, _OFF_S = 1.5, 3.0


class Watched(Device):
    """A device that remembers when each reading was taken."""

    def __init__(self, inner: Device) -> None:
        self._inner = inner
        self.seen: list[tuple[Job, float, float, Reading]] = []

    @property
    def target(self) -> Target:
        return self._inner.target

    def round(
        self, jobs: Sequence[Job], *, measure_s: float, budget: WaitBudget | None = None
    ) -> Generator[Reading]:
        self._inner.baseline = self.baseline
        readings = self._inner.round(jobs, measure_s=measure_s, budget=budget)
        for job, reading in zip(jobs, readings, strict=True):
            now = time.monotonic()
            self.seen.append((job, now - reading.cost_s, now, reading))
            yield reading

    def run(self, path: Path, inputs: Mapping[str, Any]) -> list[Any]:
        return self._inner.run(path, inputs)

    def environment(self) -> dict[str, Any]:
        return self._inner.environment()

    def close(self) -> None:
        self._inner.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--runtime", default="onnxruntime")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    shapes = list(
        {Conv2d(14, 14, rng.randint(8, 256), rng.randint(8, 256)): 0 for _ in range(args.shapes)}
    )
    with open_device("local", runtime=args.runtime) as inner:
        quiet = Watched(inner)
        others = machine_busy()
        clean_rows = list(profile(quiet, shapes))
        others = machine_busy() - others
        noisy = Watched(inner)
        with BackgroundLoad(lambda: _OFF_S, lambda: _ON_S) as load:
            rows = list(profile(noisy, shapes))
            windows = load.windows()
    contaminated, missed = judge(noisy, rows, windows)
    flagged = sum(row.status != "ok" for row in clean_rows)
    caught = 1 - missed / max(1, contaminated)
    wrong = flagged / len(clean_rows)
    print(
        json.dumps(
            {
                "benchmark": "disturbance",
                "shapes": len(shapes),
                "seed": args.seed,
                "hog": {"on_s": _ON_S, "off_s": _OFF_S, "windows": len(windows)},
                "contaminated_readings": contaminated,
                "caught": caught,
                "caught_limit": 0.95,
                "clean_rows_flagged": wrong,
                "clean_rows_flagged_limit": 0.05,
                "clean_rows_moved": moved(clean_rows, rows),
                "readings": {"quiet": len(quiet.seen), "disturbed": len(noisy.seen)},
                "others_busy": others / (quiet.seen[-1][2] - quiet.seen[0][1]),
                "passed": caught >= 0.95 and wrong <= 0.05,
                "target": str(noisy.target),
                "versions": {"onnxruntime": importlib.metadata.version("onnxruntime")},
                "python": sys.version.split()[0],
            }
        )
    )


def judge(
    device: Watched, rows: Sequence[Measurement], windows: Sequence[tuple[float, float]]
) -> tuple[int, int]:
    """(contaminated readings, those of them kept in a row that is not flagged)."""
    kept = {(row.workload, s) for row in rows if row.status == "ok" for s in row.samples_s}
    measured = {row.workload for row in rows}
    contaminated = missed = 0
    for job, begin, end, reading in device.seen:
        overlap = sum(max(0.0, min(end, off) - max(begin, on)) for on, off in windows)
        if job in measured and overlap >= 0.5 * (end - begin):
            contaminated += 1
            missed += (job, reading.samples_s) in kept
    return contaminated, missed


def moved(quiet: Sequence[Measurement], disturbed: Sequence[Measurement]) -> dict[str, float]:
    """How far usable rows lie from the quiet profile's: median and largest, relative."""
    truth = {row.workload: row.latency_s for row in quiet}
    off = sorted(abs(row.latency_s / truth[row.workload] - 1) for row in disturbed if row.usable)
    return {"median": off[len(off) // 2], "max": off[-1]} if off else {}


def machine_busy() -> float:
    """Core-seconds worked since boot by everything but this process and its children."""
    user, nice, system = (int(t) for t in Path("/proc/stat").read_text().split()[1:4])
    mine = sum(os.times()[:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK") - mine


if __name__ == "__main__":
    main()
