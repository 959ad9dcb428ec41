"""From kernels' source to machine code for one GPU. Part of the agent: standard library only.

Either compiler will do: ``nvcc``, which needs a C++ compiler beside it, or NVRTC, which comes alone
(pip install nvidia-cuda-nvrtc-cu12) and with every torch that has CUDA.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from latprof.devices.agent.cuda._library import load_library, toolkit_folders
from latprof.devices.agent.runtimes._base import NoDevice

__all__ = ["NVRTC_VERSIONS", "Compiler", "Nvcc", "Nvrtc", "choose", "find_compilers"]

#: Newest first; 12 is the last that knows sm_70.
NVRTC_VERSIONS = ("13", "12", "11.2")
_OPTIONS = ("--std=c++17",)
_LIMIT_S = 300.0

#: Compute capability -> the first toolkit that compiles for it (NVIDIA's release notes).
_FIRST_TOOLKIT = {
    (7, 0): "9.0", (7, 2): "9.2", (7, 5): "10.0", (8, 0): "11.0", (8, 6): "11.1", (8, 7): "11.4",
    (8, 9): "11.8", (9, 0): "11.8", (10, 0): "12.8", (10, 3): "12.9", (12, 0): "12.8",
    (12, 1): "12.9",
}  # fmt: skip
_OLDEST = (7, 0)


class Compiler(ABC):
    """Compiles CUDA C++. ``name`` is as people know it (``nvcc 12.4``); ``architectures`` are
    (major, minor), sorted."""

    name: str
    architectures: tuple[tuple[int, int], ...]

    @abstractmethod
    def compile(
        self, sources: Mapping[str, str], file: str, architecture: tuple[int, int]
    ) -> bytes:
        """Machine code (a cubin) of ``sources[file]``, which may include the others.

        Raises:
            NoDevice: the compiler refuses; the message is its first error.
        """


class Nvcc(Compiler):
    def __init__(self, path: str) -> None:
        self._path = path
        version = re.search(r"release (\d+\.\d+)", self._run("--version"))
        self.name = f"nvcc {version[1] if version else '?'}"
        self.architectures = _parse(self._run("--list-gpu-code"))

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._path, *arguments], capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
        if done.returncode:
            raise NoDevice(f"{self._path} {arguments[0]} fails: {_first_error(done.stderr)}")
        return done.stdout

    def compile(
        self, sources: Mapping[str, str], file: str, architecture: tuple[int, int]
    ) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in sources.items():
                (Path(folder) / name).write_text(text)
            out = str(Path(folder) / "out.cubin")
            arch = f"-arch=sm_{architecture[0]}{architecture[1]}"
            self._run("-cubin", "-O3", *_OPTIONS, arch, "-o", out, str(Path(folder) / file))
            return Path(out).read_bytes()


class Nvrtc(Compiler):
    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.name = f"NVRTC {major.value}.{minor.value}"
        count = ctypes.c_int()
        self._check(library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        numbers = (ctypes.c_int * count.value)()
        self._check(library.nvrtcGetSupportedArchs(numbers))
        self.architectures = tuple(sorted(divmod(n, 10) for n in numbers))

    def _check(self, result: int) -> None:
        if result:
            self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
            raise NoDevice(f"NVRTC: {self._library.nvrtcGetErrorString(result).decode()}")

    def compile(
        self, sources: Mapping[str, str], file: str, architecture: tuple[int, int]
    ) -> bytes:
        lib, program = self._library, ctypes.c_void_p()
        headers = {n.encode(): text.encode() for n, text in sources.items() if n != file}
        names = (ctypes.c_char_p * len(headers))(*headers)
        texts = (ctypes.c_char_p * len(headers))(*headers.values())
        source = sources[file].encode()
        self._check(
            lib.nvrtcCreateProgram(
                ctypes.byref(program), source, file.encode(), len(headers), texts, names
            )
        )
        try:
            arch = f"--gpu-architecture=sm_{architecture[0]}{architecture[1]}"
            options = [option.encode() for option in (*_OPTIONS, arch)]
            array = (ctypes.c_char_p * len(options))(*options)
            if lib.nvrtcCompileProgram(program, len(options), array):
                log = self._take(program, "nvrtcGetProgramLog").rstrip(b"\0").decode()
                raise NoDevice(f"{self.name} refuses {file}: {_first_error(log)}")
            return self._take(program, "nvrtcGetCUBIN")
        finally:
            lib.nvrtcDestroyProgram(ctypes.byref(program))

    def _take(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._library, f"{what}Size")(program, ctypes.byref(size)))
        data = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._library, what)(program, data))
        return data.raw


def find_compilers() -> list[Compiler]:
    """Those on this machine, in the order they are tried."""
    compilers: list[Compiler] = []
    nvcc = shutil.which("nvcc")
    paths = [str(folder / "bin/nvcc") for folder in toolkit_folders()]
    paths = [nvcc, *paths] if nvcc else paths
    real = dict.fromkeys(str(Path(p).resolve()) for p in paths if Path(p).is_file())
    compilers += [Nvcc(path) for path in real]
    for version in NVRTC_VERSIONS:
        library = load_library("nvrtc", (version,))
        if library is not None:
            compilers.append(Nvrtc(library))
    return compilers


def choose(
    compilers: Sequence[Compiler], capability: tuple[int, int], gpu: str
) -> tuple[Compiler, tuple[int, int]]:
    """The first compiler that compiles for a GPU, and the architecture to name.

    Machine code of one major version runs on later minor ones, so the nearest not above will do.

    Raises:
        NoDevice: none does; says which toolkit would.
    """
    sm = f"sm_{capability[0]}{capability[1]}"
    if capability < _OLDEST:
        raise NoDevice(f"{gpu} is {sm}; latprof's kernels need sm_70 or later (Volta, 2017)")
    for compiler in compilers:
        fits = [a for a in compiler.architectures if a[0] == capability[0] and a <= capability]
        if fits:
            return compiler, fits[-1]
    if not compilers:
        raise NoDevice(
            f"no CUDA compiler for {gpu} ({sm}): neither nvcc nor NVRTC is there; "
            f"install {_toolkit(capability)}, or pip install {_package(capability)}"
        )
    have = "; ".join(
        dict.fromkeys(
            f"{c.name} compiles for {_sm(c.architectures[0])} to {_sm(c.architectures[-1])}"
            for c in compilers
        )
    )
    raise NoDevice(
        f"{gpu} is {sm}, and {have}; install {_toolkit(capability)}, "
        f"or pip install {_package(capability)}"
    )


def _toolkit(capability: tuple[int, int]) -> str:
    first = _FIRST_TOOLKIT.get(capability)
    if capability < (7, 5):
        return f"CUDA {first or '9.0'} to 12.9 (CUDA 13 no longer compiles for Volta)"
    return f"CUDA {first} or later" if first else "the newest CUDA"


def _package(capability: tuple[int, int]) -> str:
    return "nvidia-cuda-nvrtc" if capability >= (10, 0) else "nvidia-cuda-nvrtc-cu12"


def _sm(architecture: tuple[int, int]) -> str:
    return f"sm_{architecture[0]}{architecture[1]}"


def _parse(listed: str) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(divmod(int(n), 10) for n in re.findall(r"sm_(\d+)\b", listed)))


def _first_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    return " ".join((errors or lines or ["it says nothing"])[0].split())[:300]
