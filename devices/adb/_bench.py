"""The work folder on the phone: the tool, the models pushed so far, and one window's command."""

from __future__ import annotations

import hashlib
import io
import secrets
import tarfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from latprof.devices.adb._benchmark_model import command_line
from latprof.devices.adb._tool import Tool
from latprof.devices.adb._transport import Transport, quote, run_checked
from latprof.errors import DeviceError, ProtocolError

__all__ = ["FOLDER", "Bench", "Output", "Window"]

#: The work folder on the phone; removed when the device is closed.
FOLDER = "/data/local/tmp/latprof"

K = TypeVar("K")

_PUSH_BYTES = 64 << 20
_TRANSFER_S = 120.0  # unpacking on slow storage


@dataclass(frozen=True)
class Output:
    """What the tool printed for one job, its exit code, and how long it took."""

    text: str
    code: int
    wall_s: float


@dataclass
class Window:
    """What came of one command: outputs so far, and the text of ``after`` once it has ended."""

    outputs: list[Output] = field(default_factory=list)
    after: str = ""


class Bench:
    """Pushes what the phone does not hold yet, and runs windows of jobs.

    Args:
        mask: the cluster's, for taskset.
        process_s: one process is killed after this long.
        libraries: as command_line takes it.
    """

    def __init__(
        self,
        transport: Transport,
        tool: Tool,
        mask: str,
        threads: int,
        process_s: float,
        libraries: str = "",
    ) -> None:
        self._transport, self._mask, self._threads = transport, mask, threads
        self._process_s, self._libraries = process_s, libraries
        self._held: dict[str, str] = {}  # digest of a file -> its name in FOLDER
        self.pushes = 0
        #: True once another run has taken the work folder: the phone is not ours to restore.
        self.taken = False
        token = secrets.token_hex(8)
        self._enter = (
            f'cd {quote(FOLDER)} && [ "$(cat owner)" = {token} ] || {{ echo @taken; exit 97; }}'
        )
        run_checked(transport, f"mkdir -p {quote(FOLDER)} && echo {token} > {quote(FOLDER)}/owner")
        transport.push(tool.data, f"{FOLDER}/benchmark_model", mode=0o755)
        run_checked(transport, f"chmod 755 {quote(FOLDER)}/benchmark_model")
        self._check_affinity()

    def _check_affinity(self) -> None:
        answer = run_checked(
            self._transport, f"taskset {self._mask} grep Cpus_allowed: /proc/self/status"
        )
        now = answer.split()[-1].replace(",", "")
        if int(now, 16) != int(self._mask, 16):
            raise DeviceError(
                f"{self._transport.serial}: asked for CPU mask {self._mask}, the phone gives "
                f"{now}; wake its screen, or name another cluster (adb:SERIAL/little)"
            )

    def hold(self, files: Iterable[tuple[K, bytes]]) -> dict[K, str]:
        """Have each file on the phone, in as few pushes as fit; gives its name there."""
        names: dict[K, str] = {}
        batch: dict[str, bytes] = {}
        for key, data in files:
            digest = hashlib.sha256(data).hexdigest()
            if digest not in self._held:
                if batch and sum(map(len, batch.values())) + len(data) > _PUSH_BYTES:
                    self._push(batch)
                    batch = {}
                self._held[digest] = f"m{len(self._held)}.tflite"
                batch[digest] = data
            names[key] = self._held[digest]
        if batch:
            self._push(batch)
        return names

    def _push(self, batch: Mapping[str, bytes]) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for digest, data in batch.items():
                entry = tarfile.TarInfo(self._held[digest])
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        self.pushes += 1
        try:
            self._transport.push(packed.getvalue(), f"{FOLDER}/models.tar")
            unpack = f"{self._enter}\ntar xf models.tar && rm models.tar"
            answer = self._transport.run(unpack, silence_s=_TRANSFER_S)
            self._check_owner(answer.output)
            if answer.code:
                raise DeviceError(
                    f"{self._transport.serial}: cannot unpack the models: "
                    f"{answer.output[-200:]!r}; is the phone's storage full?"
                )
        except BaseException:
            for digest in batch:
                del self._held[digest]
            raise

    def _check_owner(self, text: str) -> None:
        if "@taken" in text:
            self.taken = True
            raise DeviceError(
                f"{self._transport.serial}: another run has taken the phone; let one run at a time "
                "measure on it, and run the same command again"
            )

    def run(
        self,
        jobs: Sequence[tuple[str, Sequence[str]]],
        window: Window,
        *,
        measure_s: float,
        warmup_s: float,
        after: str = "true",
    ) -> None:
        """Run the tool on each (model's name, flags), one process each, all in one command.

        ``window`` fills as the phone goes, so that what was done stays known when it is lost.
        """
        limit_s = max(1.0, self._process_s / 3)
        tool = command_line(
            "MODEL",
            threads=self._threads,
            measure_s=measure_s,
            warmup_s=warmup_s,
            limit_s=limit_s,
            libraries=self._libraries,
        ).replace("MODEL", '"$g"')
        lines = [
            self._enter,
            'b() { g=$1; shift; echo "@job"; '
            f'timeout -s KILL {self._process_s:g} taskset {self._mask} {tool} "$@"; '
            'echo "@code $?"; }',
            *(f"b {quote(name, *flags)}" for name, flags in jobs),
            "echo @after",
            after,
        ]
        stream = self._transport.stream("\n".join(lines), silence_s=self._process_s * 1.2 + 2)
        text: list[str] = []
        start_s = time.monotonic()
        for line in stream:
            if line == "@job":
                text, start_s = [], time.monotonic()
            elif line.startswith("@code "):
                wall_s = time.monotonic() - start_s
                window.outputs.append(Output("\n".join(text), int(line.split()[1]), wall_s))
                text = []
            else:
                text.append(line)
        self._check_owner("\n".join(text))
        if "@after" not in text:
            raise ProtocolError(
                f"{self._transport.serial}: the phone's script ended early: "
                f"{' '.join(text)[-200:]!r}; run the same command again"
            )
        window.after = "\n".join(text[text.index("@after") + 1 :])
        if len(window.outputs) != len(jobs):
            raise ProtocolError(
                f"{self._transport.serial}: {len(window.outputs)} answers to {len(jobs)} jobs"
            )
