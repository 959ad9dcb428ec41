"""The journal: what a kill -9 cannot take away.

JSON Lines, append-only, each line fsynced before the next reading is taken. The first line holds
the target; then one line per reading, one where readings are discarded, one per finished shape.
Each line ends in a checksum of itself. A torn last line is what a kill leaves, and is dropped. A
damaged line before it is skipped and reported: what it may have held is measured again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from latprof.devices._device import Job, Reading
from latprof.errors import FailureError, LatprofError, TableError, UsageError
from latprof.vocabulary import Closing, Measurement, Target, replace_file
from latprof.workloads import Workload, workload_from_dict

__all__ = ["Journal"]

_log = logging.getLogger("latprof")

# Format history
# 1: first.
# 2: a reading holds what the sentinel took beside it.
# 3: what is finished holds the slowdown of its rounds.
# 4: each line has a checksum; a reading's busy is its core_share.
_VERSION = 4
#: The same without checksums; read, and rewritten.
_UNCHECKED_VERSION = 3

_CHECKSUM = re.compile(rb', "crc32": "([0-9a-f]{8})"\}$')


class Journal(Closing):
    """An open journal: read once, then appended to.

    Args:
        path: made where absent, continued where present.
        target: what this run measures.

    Raises:
        TargetMismatchError: the file was begun for another target.
        TableError: the file is not a journal, or of an unknown version.
        UsageError: another process is writing to it.
        FailureError: it cannot be read or written.
    """

    def __init__(self, path: Path, target: Target) -> None:
        self._path = path
        self.finished: dict[Workload, Measurement] = {}
        self.readings: dict[Job, dict[int, Reading]] = {}
        self.seen: dict[int, Reading] = {}  # by serial number, those discarded included
        self._skipped: list[int] = []
        self._file = -1
        self._lock_path = path.with_name(f".{path.name}.lock")
        self._lock = filelock.FileLock(self._lock_path, thread_local=False)
        try:
            with self._failing("cannot be opened"):
                path.parent.mkdir(parents=True, exist_ok=True)
                self._acquire()
                self._file = os.open(
                    path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644
                )
                self._load(target)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._lock.is_locked:
            with contextlib.suppress(OSError):  # Windows removes no open file
                self._lock_path.unlink()
            self._lock.release()

    def reading(self, serial: int, workload: Workload, reading: Reading) -> None:
        self._append(
            {
                "reading": serial,
                "workload": workload.to_dict(),
                "samples_s": reading.samples_s,
                "core_share": reading.core_share,
                "cost_s": reading.cost_s,
                "sentinel_s": reading.sentinel_s,
                "memory_s": reading.memory_s,
            }
        )

    def discard(self, readings: Sequence[tuple[Workload, int]]) -> None:
        """Take readings back, by workload and serial number: they met background load."""
        self._append({"discard": [[serial, w.to_dict()] for w, serial in readings]})

    def finish(self, row: Measurement) -> None:
        self._append({"finished": row.to_dict()})

    def _append(self, line: Mapping[str, Any]) -> None:
        data = _checked(line)
        with self._failing("cannot be written"):
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)

    @contextlib.contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """The system's errors as one line of ours."""
        try:
            yield
        except OSError as exc:
            full = exc.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
            hint = "free some space" if full else "write to another folder, or mend this one,"
            raise FailureError(
                f"journal {self._path} {what}: {exc.strerror or exc}; what was measured before is "
                f"safe; {hint} and run the same command again"
            ) from exc

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
            while not self._lock_path.exists():  # removed by its last owner meanwhile
                self._lock.release()
                self._lock.acquire(timeout=0)
        except filelock.Timeout as exc:
            raise UsageError(
                f"journal {self._path} is in use by another latprof; wait for it, or name another"
            ) from exc

    def _load(self, target: Target) -> None:
        with open(self._file, "rb", closefd=False) as file:
            whole, newline, _torn = file.read().rpartition(b"\n")
        lines = whole.split(b"\n") if whole else []
        if not lines:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            self._append({"journal": _VERSION, "target": target.to_dict()})
            self._sync_folder()
            return
        version = self._begin(lines[0], target)
        kept = [{"journal": _VERSION, "target": target.to_dict()}]
        for number, line in enumerate(lines[1:], start=2):
            fields = _parse(line, checked=version == _VERSION)
            if fields is None:
                self._skip(number)
                continue
            self._replay(number, fields)
            kept.append(fields)
        if self._skipped:
            _log.warning(
                "journal %s: damaged at line %s and skipped there; what is not finished is "
                "measured again", self._path, ", ".join(map(str, self._skipped)),
            )  # fmt: skip
        if self._skipped or version != _VERSION:
            self._rewrite(kept)
        else:
            length = len(whole + newline)
            os.ftruncate(self._file, length)
            os.lseek(self._file, length, os.SEEK_SET)

    def _begin(self, line: bytes, target: Target) -> int:
        """The version that the first line names; raises where it is none of this target."""
        fields = _parse(line, checked=False)
        version = fields.get("journal") if fields else None
        if version not in (_VERSION, _UNCHECKED_VERSION):
            raise TableError(
                f"{self._path} is no journal of version {_UNCHECKED_VERSION} or {_VERSION}: it "
                f"begins {line[:60]!r}; move it away to begin anew"
            )
        if version == _VERSION and _parse(line, checked=True) is None:
            raise TableError(
                f"journal {self._path} is damaged in its first line, which names the target; "
                "delete it to begin anew"
            )
        assert fields is not None
        Target.from_dict(fields["target"]).require(target, f"journal {self._path}")
        return int(version)

    def _skip(self, number: int) -> None:
        """Forget the readings so far: the damaged line may have discarded any of them."""
        self._skipped.append(number)
        self.readings.clear()

    def _rewrite(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """The same content, all of it sound and of the present version; after damage, without the
        readings that were forgotten and what was discarded of them."""
        if self._skipped:
            held = {serial for readings in self.readings.values() for serial in readings}
            lines = [
                line
                for line in lines
                if "discard" not in line and ("reading" not in line or line["reading"] in held)
            ]
        os.close(self._file)
        self._file = -1
        replace_file(self._path, b"".join(map(_checked, lines)))
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0))

    def _replay(self, number: int, line: dict[str, Any]) -> None:
        try:
            if "reading" in line:
                workload = workload_from_dict(line["workload"])
                if "busy" in line:  # its name before version 4
                    line["core_share"] = line.pop("busy")
                reading = Reading(
                    tuple(line["samples_s"]),
                    line["core_share"],
                    line["cost_s"],
                    line["sentinel_s"],
                    line.get("memory_s", 0.0),  # not in what was begun before it was timed
                )
                serial = int(line["reading"])
                self.seen[serial] = reading
                self.readings.setdefault(workload, {})[serial] = reading
            elif "discard" in line:
                for serial, data in line["discard"]:
                    self._take_back(workload_from_dict(data), serial)
            else:
                row = Measurement.from_dict(line["finished"])
                self.finished[row.workload] = row
                self.readings.pop(row.workload, None)
        except (KeyError, TypeError, ValueError, LatprofError) as exc:
            raise TableError(
                f"journal {self._path} is corrupt at line {number}: {exc!r}; "
                "delete it to begin anew"
            ) from exc

    def _take_back(self, workload: Workload, serial: int) -> None:
        readings = self.readings.get(workload, {})
        if self._skipped and serial not in readings:  # forgotten with a damaged line
            return
        del readings[serial]

    def _sync_folder(self) -> None:
        """The new file's name, too, must survive a power cut; Windows sees to that itself."""
        if os.name != "posix":
            return
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _checked(line: Mapping[str, Any]) -> bytes:
    """One line of the file: JSON whose last field is the CRC-32 of what comes before it."""
    text = json.dumps({key: value for key, value in line.items() if key != "crc32"}).encode()[:-1]
    return text + f', "crc32": "{zlib.crc32(text):08x}"}}\n'.encode()


def _parse(line: bytes, *, checked: bool) -> dict[str, Any] | None:
    """A line's fields; None where it is damaged."""
    if checked:
        found = _CHECKSUM.search(line)
        if found is None or zlib.crc32(line[: found.start()]) != int(found[1], 16):
            return None
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
