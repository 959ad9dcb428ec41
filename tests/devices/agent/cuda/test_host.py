"""What is read of a GPU's state, and which compiler serves which GPU."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latprof.cuda_src import SOURCES
from latprof.devices.agent.cuda._compiler import Compiler, choose, find_compilers
from latprof.devices.agent.cuda._driver import GpuInfo
from latprof.devices.agent.cuda._kernels import FILES
from latprof.devices.agent.cuda._nvml import GpuState, parse_state
from latprof.devices.agent.runtimes._base import NoDevice, Refused

#: In the form of NVML's answers; the numbers are a V100's by its data sheet, under load.
BUSY: dict[str, int | str] = {
    "sm_mhz": 1380, "memory_mhz": 877, "sm_max_mhz": 1530, "memory_max_mhz": 877,
    "power_mw": 249_731, "power_cap_mw": 250_000, "power_cap_default_mw": 300_000,
    "temperature_c": 71, "performance_state": 0, "persistence_mode": 1, "reasons": 0x24,
}  # fmt: skip
KERNEL = r"__global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\("
GPU = GpuInfo(0, "NVIDIA TITAN V", (7, 0), 80, 4718592, 98304, 12 << 30, "0000:01:00.0", "12.4")


def test_answers_become_hertz_watts_and_words() -> None:
    state = parse_state(BUSY)
    assert state["sm_hz"] == 1_380_000_000
    assert state["memory_max_hz"] == 877_000_000
    assert state["power_w"] == pytest.approx(249.731)
    assert state["power_cap_w"] == 250
    assert state["reasons"] == ["sw_power_cap", "sw_thermal_slowdown"] == state["slowed_by"]
    assert "refused" not in state


def test_idle_slows_nobody_and_what_the_card_refuses_is_said() -> None:
    state = parse_state({**BUSY, "reasons": 0x1 | 0x800, "power_cap_mw": "Not Supported"})
    assert (state["reasons"], state["slowed_by"]) == (["gpu_idle", "unknown_0x800"], [])
    assert "power_cap_w" not in state
    assert state["refused"] == {"power_cap_mw": "Not Supported"}


class Nvml(SimpleNamespace):
    """Answers as above, and keeps what was set."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, root: bool = True) -> None:
        super().__init__(root=root, locks=[])

    def nvmlInit(self) -> None: ...

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.54.15"

    def nvmlDeviceGetHandleByPciBusId(self, pci: bytes) -> str:
        return pci.decode()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvmlDeviceGet"):
            raise AttributeError(name)
        return lambda handle, *which: 0x24 if name.endswith("Reasons") else 1000

    def nvmlDeviceSetGpuLockedClocks(self, handle: str, low: int, high: int) -> None:
        if not self.root:
            raise self.NVMLError("Insufficient Permissions")
        self.locks.append((low, high))

    def nvmlDeviceResetGpuLockedClocks(self, handle: str) -> None:
        self.locks.append(None)


def test_nothing_is_set_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    state = GpuState(GPU)
    assert state.read()["sm_hz"] == 1_000_000_000
    assert state.read()["driver"] == "550.54.15"
    state.restore()
    assert nvml.locks == []
    asked = GpuState(GPU, "1230")
    assert asked.read()["clock_locked"] is True
    asked.restore()
    asked.restore()
    assert nvml.locks == [(1230, 1230), None]


def test_a_clock_that_cannot_be_locked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(root=False))
    with pytest.raises(Refused, match="Insufficient Permissions; locking needs root"):
        GpuState(GPU, "1230")
    with pytest.raises(Refused, match="expected whole MHz"):
        GpuState(GPU, "fast")


def test_energy_is_nvml_s_counter_in_millijoules(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    counted = iter([5_000, 5_000, 7_250])
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: next(counted)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    energy = GpuState(GPU).energy
    assert energy.missing == ""
    energy.start()
    assert energy.taken_j() == 2.25


def test_a_gpu_without_a_counter_of_energy_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()

    def refuse(handle: str) -> int:
        raise nvml.NVMLError("Not Supported")

    nvml.nvmlDeviceGetTotalEnergyConsumption = refuse
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert "Not Supported" in GpuState(GPU).energy.missing
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install nvidia-ml-py" in GpuState(GPU).energy.missing


def test_without_nvml_the_state_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install nvidia-ml-py" in GpuState(GPU).read()["refused"]["nvml"]


class Named(Compiler):
    def __init__(self, name: str, *architectures: tuple[int, int]) -> None:
        self.name, self.architectures = name, architectures

    def compile(
        self, sources: Mapping[str, str], file: str, architecture: tuple[int, int]
    ) -> bytes:
        return b""


CUDA_13 = Named("nvcc 13.0", (7, 5), (8, 0), (8, 6), (9, 0), (12, 0))
CUDA_12 = Named("NVRTC 12.6", (5, 0), (7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0))
CUDA_11 = Named("nvcc 11.2", (3, 5), (7, 0), (7, 5), (8, 0), (8, 6))


@pytest.mark.parametrize(
    ("compilers", "capability", "chosen"),
    [
        ([CUDA_13, CUDA_12], (7, 0), (CUDA_12, (7, 0))),
        ([CUDA_13, CUDA_12], (9, 0), (CUDA_13, (9, 0))),
        ([CUDA_11], (8, 9), (CUDA_11, (8, 6))),  # machine code serves later minor versions
    ],
)
def test_the_first_compiler_that_serves_the_gpu(
    compilers: list[Compiler], capability: tuple[int, int], chosen: object
) -> None:
    assert choose(compilers, capability, "a GPU") == chosen


@pytest.mark.parametrize(
    ("compilers", "capability", "why"),
    [
        ([CUDA_13], (7, 0), "nvcc 13.0 compiles for sm_75 to sm_120; install CUDA 9.0 to 12.9"),
        ([CUDA_11], (9, 0), "nvcc 11.2 compiles for sm_35 to sm_86; install CUDA 11.8 or later"),
        ([], (7, 0), "neither nvcc nor NVRTC is there; install CUDA 9.0 to 12.9"),
        ([CUDA_12], (6, 1), "sm_61; latprof's kernels need sm_70 or later"),
        ([CUDA_13], (10, 3), "install CUDA 12.9 or later, or pip install nvidia-cuda-nvrtc$"),
    ],
)
def test_a_toolkit_too_new_or_too_old_is_one_line(
    compilers: list[Compiler], capability: tuple[int, int], why: str
) -> None:
    with pytest.raises(NoDevice, match=why) as caught:
        choose(compilers, capability, "NVIDIA TITAN V")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", [(7, 0), (8, 0), (9, 0)], ids=lambda a: f"sm_{a[0]}{a[1]}")
@pytest.mark.parametrize("file", FILES)
def test_kernels_compile(file: str, architecture: tuple[int, int]) -> None:
    found = find_compilers()
    fitting = [c for c in found if architecture in c.architectures]
    if not fitting:
        have = ", ".join(c.name for c in found) or "no CUDA compiler"
        pytest.skip(f"{have} here; sm_{architecture[0]}{architecture[1]} needs another")
    code = fitting[-1].compile(SOURCES, file, architecture)
    assert code[:4] == b"\x7fELF"
    assert int.from_bytes(code[18:20], "little") == 190  # EM_CUDA
    kernels = re.findall(KERNEL, SOURCES[file])
    assert kernels
    assert all(f".text.{kernel}".encode() in code for kernel in kernels)


@pytest.mark.parametrize("compiler", find_compilers(), ids=lambda c: c.name)
def test_an_error_in_a_kernel_is_the_compilers_first(compiler: Compiler) -> None:
    broken = {"a.cu": "__global__ void a() {\n  int x = ;\n}\n"}
    with pytest.raises(NoDevice, match=r"a\.cu.*error") as caught:
        compiler.compile(broken, "a.cu", compiler.architectures[-1])
    assert "\n" not in str(caught.value)


def test_sources_are_the_folder() -> None:
    folder = Path(__file__).parents[4] / "cuda_src"
    assert set(SOURCES) == {p.name for p in folder.glob("*.cu*")}
    assert set(FILES) == {name for name in SOURCES if name.endswith(".cu")}
