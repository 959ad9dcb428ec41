"""The journal: what a kill -9 cannot take away.

JSON Lines, append-only, each line fsynced before the next reading is taken. The first line holds
the target; then one line per reading, one where readings are discarded, one per finished shape. A
torn last line is what a kill leaves, and is dropped; anything else that does not parse is
corruption.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latprof.devices._device import Job, Reading
from latprof.errors import FailureError, LatprofError, TableError, UsageError
from latprof.vocabulary import Closing, Measurement, Target
from latprof.workloads import Workload, workload_from_dict

__all__ = ["Journal"]

# Format history
# 1: first.
# 2: a reading holds what the sentinel took beside it.
# 3: what is finished holds its pace.
_VERSION = 3


class Journal(Closing):
    """An open journal: read once, then appended to.

    Args:
        path: made where absent, continued where present.
        target: what this run measures.

    Raises:
        TargetMismatchError: the file was begun for another target.
        TableError: the file is corrupt, or of an unknown version.
        UsageError: another process is writing to it.
    """

    def __init__(self, path: Path, target: Target) -> None:
        self._path = path
        self.finished: dict[Workload, Measurement] = {}
        self.readings: dict[Job, dict[int, Reading]] = {}
        self.seen: dict[int, Reading] = {}  # by serial number, those discarded included
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._lock()
            self._load(target)
        except BaseException:
            os.close(self._file)
            raise

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def reading(self, serial: int, workload: Workload, reading: Reading) -> None:
        self._append(
            {
                "reading": serial,
                "workload": workload.to_dict(),
                "samples_s": reading.samples_s,
                "busy": reading.busy,
                "cost_s": reading.cost_s,
                "sentinel_s": reading.sentinel_s,
                "memory_s": reading.memory_s,
            }
        )

    def discard(self, readings: Sequence[tuple[Workload, int]]) -> None:
        """Take readings back, by workload and serial number: they were disturbed."""
        self._append({"discard": [[serial, w.to_dict()] for w, serial in readings]})

    def finish(self, row: Measurement) -> None:
        self._append({"finished": row.to_dict()})

    def _append(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)
        except OSError as exc:
            full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
            hint = "free some space" if full else "mend it"
            raise FailureError(
                f"journal {self._path}: {exc.strerror}; what was measured before is safe; "
                f"{hint} and run the same command again"
            ) from exc

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise UsageError(
                f"journal {self._path} is in use by another latprof; wait for it, or name another"
            ) from exc

    def _load(self, target: Target) -> None:
        with open(self._file, "rb", closefd=False) as file:
            whole, newline, _torn = file.read().rpartition(b"\n")
        kept = whole + newline
        os.ftruncate(self._file, len(kept))
        os.lseek(self._file, len(kept), os.SEEK_SET)
        lines = whole.split(b"\n") if whole else []
        if not lines:
            self._append({"journal": _VERSION, "target": target.to_dict()})
            self._sync_folder()
            return
        header = self._parse(1, lines[0])
        if header.get("journal") != _VERSION:
            raise TableError(
                f"{self._path} is no journal of version {_VERSION}: it begins {lines[0][:60]!r}"
            )
        Target.from_dict(header["target"]).require(target, f"journal {self._path}")
        for number, line in enumerate(lines[1:], start=2):
            self._replay(number, self._parse(number, line))

    def _parse(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError) as exc:
            raise TableError(
                f"journal {self._path} is corrupt at line {number}: {line[:60]!r}; "
                "remove that line, or the file to begin again"
            ) from exc

    def _replay(self, number: int, line: dict[str, Any]) -> None:
        try:
            if "reading" in line:
                workload = workload_from_dict(line["workload"])
                reading = Reading(
                    tuple(line["samples_s"]),
                    line["busy"],
                    line["cost_s"],
                    line["sentinel_s"],
                    line.get("memory_s", 0.0),  # not in what was begun before it was looked at
                )
                serial = int(line["reading"])
                self.seen[serial] = reading
                self.readings.setdefault(workload, {})[serial] = reading
            elif "discard" in line:
                for serial, data in line["discard"]:
                    del self.readings[workload_from_dict(data)][serial]
            else:
                row = Measurement.from_dict(line["finished"])
                self.finished[row.workload] = row
                self.readings.pop(row.workload, None)
        except (KeyError, TypeError, ValueError, LatprofError) as exc:
            raise TableError(f"journal {self._path} is corrupt at line {number}: {exc!r}") from exc

    def _sync_folder(self) -> None:
        """The new file's name, too, must survive a power cut."""
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
