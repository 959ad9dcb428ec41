"""What does a kill cost? One plan, killed with -9 at fifty random points, resumed each time.

Every reading is noted as it begins, and again in the journal as it ends. What began and is not in
the journal was lost to the kill.

    python benchmarks/kill_resume.py [--kills 50]

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from latprof import Target
from latprof.devices import Device, Job, Reading, WaitBudget, open_device, profile
from latprof.workloads import Conv2d

_SHAPES = 200


class Noting(Device):
    """A device that notes each reading as it begins, where a kill cannot undo it."""

    def __init__(self, inner: Device, notes: Path) -> None:
        self._inner, self._notes = inner, notes

    @property
    def target(self) -> Target:
        return self._inner.target

    def round(
        self, jobs: Sequence[Job], *, measure_s: float, budget: WaitBudget | None = None
    ) -> Generator[Reading]:
        self._inner.baseline = self.baseline
        readings = self._inner.round(jobs, measure_s=measure_s, budget=budget)
        with self._notes.open("ab", buffering=0) as notes:
            for _ in jobs:
                notes.write(b".")
                yield next(readings)

    def run(self, path: Path, inputs: Mapping[str, Any]) -> list[Any]:
        return self._inner.run(path, inputs)

    def environment(self) -> dict[str, Any]:
        return self._inner.environment()

    def close(self) -> None:
        self._inner.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    shapes = [Conv2d(7, 7, 32, 8 + c) for c in range(_SHAPES)]
    if args.child:
        journal, notes = map(Path, args.child)
        with open_device("local") as inner:
            rows = list(profile(Noting(inner, notes), shapes, journal=journal))
        print(json.dumps([row.workload.c_out for row in rows if isinstance(row.workload, Conv2d)]))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(kill_and_resume(Path(folder), args.kills, random.Random(args.seed))))


def kill_and_resume(folder: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    journal, notes = folder / "journal.jsonl", folder / "notes"
    command = [sys.executable, "-P", __file__, "--child", str(journal), str(notes)]
    lost, before, landed, start = [], b"", 0, time.monotonic()
    while landed < kills:
        begun, ended = size(notes), count_readings(journal)
        child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        try:
            child.wait(rng.uniform(0.3, 1.6))
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            landed += 1
        child.communicate()
        now = journal.read_bytes() if journal.exists() else b""
        whole = before[: before.rfind(b"\n") + 1]
        assert now.startswith(whole), "the journal lost lines it had"
        before = now
        lost.append((size(notes) - begun) - (count_readings(journal) - ended))
        if child.returncode == 0:  # the plan is done: begin another, until the kills are used up
            check_whole(journal)
            journal.unlink()
            before = b""
        print(f"\r{landed} of {kills} kills", end="", file=sys.stderr)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured = Counter(json.loads(done.stdout.splitlines()[-1]))
    check_whole(journal)
    return {
        "benchmark": "kill_resume",
        "kills": landed,
        "shapes": _SHAPES,
        "lost_readings_per_kill_max": max(lost),
        "lost_readings_per_kill_limit": 1,
        "lost_readings": sum(lost),
        "shapes_in_table_once": sum(n == 1 for n in measured.values()),
        "passed": max(lost) <= 1 and len(measured) == _SHAPES and set(measured.values()) == {1},
        "wall_s": time.monotonic() - start,
        "versions": {"onnxruntime": importlib.metadata.version("onnxruntime")},
        "python": sys.version.split()[0],
    }


def check_whole(journal: Path) -> None:
    rows = [json.loads(line) for line in journal.read_bytes().splitlines()]
    finished = Counter(json.dumps(row["finished"]["workload"]) for row in rows if "finished" in row)
    assert len(finished) == _SHAPES, f"{len(finished)} shapes finished"
    assert set(finished.values()) == {1}, "a shape is there twice"


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def count_readings(journal: Path) -> int:
    return journal.read_bytes().count(b'\n{"reading"') if journal.exists() else 0


if __name__ == "__main__":
    main()
