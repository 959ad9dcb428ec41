# ruff: noqa: PTH109, PTH118, PTH123, SIM115
# (pathlib would double the start-up time, which every benchmark pays)
"""Runs a stand-in ELF as the phone's CPU would: refuses other machines', else asks the zygote.

Standard library only and started with -I -S: this is the per-process cost of every benchmark.
"""

import array
import json
import os
import socket
import sys

AARCH64 = 183

header = open(sys.argv[1], "rb").read(1024)
if int.from_bytes(header[18:20], "little") != AARCH64:
    bits = {1: 32, 2: 64}[header[4]]
    sys.exit(f"/system/bin/sh: {sys.argv[1]}: not executable: {bits}-bit ELF file" if bits else 126)
version = header[64:].split(b"\0")[0].decode()
order = {"argv": sys.argv[2:], "cwd": os.getcwd(), "version": version}
order["state"] = os.path.join(os.environ["PHONE_ROOT"], "state")
with socket.socket(socket.AF_UNIX) as wire:
    wire.connect(os.environ["PHONE_ZYGOTE"])
    fds = array.array("i", [1])
    wire.sendmsg(
        [json.dumps(order).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds.tobytes())]
    )
    code = wire.recv(16)
sys.exit(int(code or b"137"))
