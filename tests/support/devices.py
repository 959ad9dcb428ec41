"""A real sshd on loopback, and the processes that tests end."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


_EARLIER: set[int] = set()


def forget_children() -> None:
    """What earlier tests left running (resource trackers, fork servers) is none of this one's."""
    _EARLIER.update(children(os.getpid()))


def children(pid: int) -> list[int]:
    """Processes started by ``pid``, and by those, and so on."""
    found: list[int] = []
    for direct in _started_by(pid):
        found += [direct, *children(direct)]
    return found


def _started_by(pid: int) -> list[int]:
    try:
        texts = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return []
    return [p for p in map(int, " ".join(texts).split()) if p not in _EARLIER]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(condition: object, limit_s: float = 10.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class Sshd:
    """sshd with keys, configuration and port of its own; ``box`` is its name for ssh."""

    folder: Path
    process: subprocess.Popen[bytes]
    options: str

    def stop(self) -> None:
        for pid in [*children(self.process.pid), self.process.pid]:
            if alive(pid):
                os.kill(pid, 9)
        self.process.wait()

    def drop_connections(self) -> None:
        for pid in children(self.process.pid):
            if alive(pid):
                os.kill(pid, 9)


def start_sshd(folder: Path) -> Sshd:
    for key in ("host_key", "user_key", "other_key"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key]
        subprocess.run(make, check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd separates its privileges
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPidFile none\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
    )
    public = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")
    (folder / "ssh_config").write_text(
        f"Host box\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n"
        f" IdentityFile {folder}/user_key\n IdentitiesOnly yes\n IdentityAgent none\n"
        f" UserKnownHostsFile {folder}/known_hosts\n GlobalKnownHostsFile /dev/null\n"
        " StrictHostKeyChecking yes\n"
    )
    command = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def listening() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listening)
    return Sshd(folder, process, f"-F {folder}/ssh_config")
