"""Forks a benchmark per order, LiteRT already imported, as Android's zygote forks apps.

    python zygote.py SOCKET

Each benchmark is its own process with its own interpreter; only the imports are shared, which
spares 0.4 s a process. The order comes with the caller's standard output.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import signal
import socket
import sys

import benchmark_tool


def main(path: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            wire, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _serve(wire)
            wire.close()


def _serve(wire: socket.socket) -> None:
    message, ancillary, _, _ = wire.recvmsg(64 << 10, socket.CMSG_SPACE(4))
    order = json.loads(message)
    (out,) = array.array("i", ancillary[0][2])
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(order["cwd"])
    try:
        code = benchmark_tool.main(order["argv"], order["version"], order["state"])
    except BrokenPipeError:  # the caller was unplugged
        os._exit(141)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        wire.sendall(str(code).encode())
    os._exit(0)


main(sys.argv[1])
