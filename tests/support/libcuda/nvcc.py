"""Stands in for nvcc: compiles kernels for the host, to run in emulator.h.

A ``cubin`` is then a shared library in which each kernel NAME has a NAME__bind. What was compiled
once is kept beside this file, in ``made/``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
KERNEL = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(')
FLAGS = ("-std=c++17", "-O1", "-shared", "-fPIC", "-fno-strict-aliasing", "-w",
         "-fsanitize=undefined", "-fno-sanitize-recover=all")  # fmt: skip


def main() -> None:
    if "--version" in sys.argv:
        print(f"Cuda compilation tools, release {os.environ.get('STANDIN_CUDA', '12.4')}, V0")
        return
    if "--list-gpu-code" in sys.argv:
        print(os.environ.get("STANDIN_CODES", "sm_70 sm_80 sm_90").replace(" ", "\n"))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("-cubin", action="store_true", required=True)
    parser.add_argument("-O3", action="store_true")
    parser.add_argument("--std")
    parser.add_argument("-arch", required=True)
    parser.add_argument("-o", type=Path, required=True)
    parser.add_argument("source", type=Path)
    args = parser.parse_args()
    texts = {p.name: p.read_text() for p in sorted(args.source.parent.glob("*.cuh"))}
    texts[args.source.name] = args.source.read_text()
    texts["intrinsics.cuh"] = (HERE / "intrinsics.cuh").read_text()
    key = repr((texts, args.source.name, args.arch, (HERE / "emulator.h").read_text(), FLAGS))
    made = HERE / "made" / hashlib.sha256(key.encode()).hexdigest()
    if not made.exists():
        compile_to(made, texts, args.source.name, args.arch)
    shutil.copy(made, args.o)


def compile_to(made: Path, texts: dict[str, str], source: str, arch: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in texts.items():
            (folder / file).write_text(text)
        binds = "\n".join(
            f'extern "C" std::function<void()>* {kernel}__bind(void** p, char* packed, size_t n) '
            f"{{ return emulator::bind({kernel}, p, packed, n); }}"
            for kernel in KERNEL.findall(texts[source])
        )
        (folder / "all.cpp").write_text(f'#include "emulator.h"\n#include "{source}"\n{binds}\n')
        out = folder / "out.so"
        numbered = f"-D__CUDA_ARCH__={arch.removeprefix('sm_')}0"
        command = [
            "g++",
            *FLAGS,
            numbered,
            f"-I{HERE}",
            f"-I{folder}",
            "-o",
            out,
            folder / "all.cpp",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        made.parent.mkdir(exist_ok=True)
        shutil.copy(out, made.with_suffix(f".{os.getpid()}"))
        made.with_suffix(f".{os.getpid()}").rename(made)


if __name__ == "__main__":
    main()
