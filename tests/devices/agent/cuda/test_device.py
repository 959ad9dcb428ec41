"""``cuda:0`` from spec to rows, on a stand-in for driver and compiler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from support.devices import SSHD, start_sshd
from support.gpu import DRIVERS, PYCUDA, build_stand_in

from latprof.devices import DeviceInfo, ScheduleSettings, open_device, open_target, profile
from latprof.devices.remote._agent_device import AgentDevice
from latprof.errors import DeviceLostError, UnknownDeviceError, UsageError
from latprof.workloads import Conv2d, Elementwise, MatMul, Workload

QUICK = ScheduleSettings(round_s=0.001, min_rounds=2, max_rounds=2, max_discards=1, pause_s=1e-9)
WORKLOADS: list[Workload] = [Conv2d(4, 4, 8, 8), MatMul(2, 8, 8), Elementwise("gelu", 4, 4, 8)]
SETTINGS = {"affinity": "none"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return build_stand_in(tmp_path_factory.mktemp("stand_in"))


@pytest.fixture
def slow_host(built: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Its sentinel is minutes of the stand-in's time."""
    for name, value in built.items():
        monkeypatch.setenv(name, value)
    return built


@pytest.fixture
def host(slow_host: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(AgentDevice, "sentinel", MatMul(8, 8, 8))
    return slow_host


def test_the_sentinel_is_work_enough_for_clocks_to_matter(slow_host: dict[str, str]) -> None:
    with open_device("cuda:0", runtime="cuda", **SETTINGS) as device:
        assert device.sentinel.macs >= 1e9


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_profile_has_a_target_rows_and_the_gpus_state(host: dict[str, str], driver: str) -> None:
    with open_device("cuda:0", runtime="cuda", driver=driver, **SETTINGS) as device:
        target = device.target
        assert (target.device, target.runtime) == ("Stand-in GPU", "cuda")
        assert (target.delegate, target.precision) == ("own kernels", "float32")
        assert dict(target.settings) == {"cache": "hot", "kernels": "own", "layout": "nchw"}
        assert "nvcc 12.4" in target.runtime_version
        before = device.environment()
        rows = {row.workload: row for row in profile(device, WORKLOADS, settings=QUICK)}
        after = device.environment()
    assert [bool(rows[w].samples_s) for w in WORKLOADS] == [True, True, False]
    assert "--runtime torch" in rows[WORKLOADS[2]].detail
    assert driver in before["gpu_driven_by"]
    assert before["gpu"]["l2_bytes"] == 64 << 10
    assert before["dispatch_s"] > 0
    assert "gpu_after" not in before
    assert set(after["gpu_after"]) == set(after["gpu"])
    assert after["gpu_slowed_by"] == []


def test_cold_hot_and_cublas_are_three_targets(host: dict[str, str]) -> None:
    targets = set()
    for settings in ({}, {"cache": "cold"}, {"kernels": "cublas"}, {"precision": "float16"}):
        with open_device("cuda:0", runtime="cuda", **SETTINGS, **settings) as device:
            (reading,) = device.round([Conv2d(8, 8, 32, 32)], measure_s=0.001)
            assert bool(reading.samples_s) or "cold" in reading.error
            targets.add(device.target)
        with open_target("cuda:0", device.target, **SETTINGS) as again:
            assert again.target == device.target
    assert len(targets) == 4


@pytest.mark.parametrize(
    ("spec", "settings", "variables", "error", "why"),
    [
        ("cuda:1", {}, {}, UnknownDeviceError, "no cuda:1 here; the driver sees cuda:0"),
        ("cuda:0", {}, {"STANDIN_GPUS": "0"}, UnknownDeviceError, "the driver sees no GPU"),
        ("cuda:0", {}, {"STANDIN_INIT": "100"}, UnknownDeviceError, "does nvidia-smi run"),
        (
            "cuda:0",
            {},
            {"STANDIN_CAPABILITY": "130"},
            UnknownDeviceError,
            "install the newest CUDA",
        ),
        ("cuda:0", {}, {"STANDIN_CAPABILITY": "61"}, UnknownDeviceError, "sm_70 or later"),
        ("cuda:0", {"cache": "warm"}, {}, UsageError, "expected one of hot, cold"),
        ("cuda:0", {"kernels": "unknown"}, {}, UsageError, "expected one of own, cublas"),
        ("cuda:0", {"driver": "rocm"}, {}, UsageError, "expected one of auto, pycuda, ctypes"),
        ("cuda:0", {"precision": "tf32"}, {}, UsageError, "float32 and float16"),
        ("cuda:0", {"colour": "red"}, {}, UsageError, "no setting 'colour'"),
        ("cuda:0", {"gpu_clock": "1230"}, {}, UsageError, "gpu_clock"),
        ("local", {"gpu_clock": "1230"}, {}, UsageError, "no setting 'gpu_clock'"),
        ("cuda:x", {}, {}, UnknownDeviceError, "expected local, cuda:0"),
        ("ssh:box/tpu:0", {}, {}, UnknownDeviceError, "ssh:HOST/cuda:0"),
    ],
)
def test_what_is_wrong_is_one_line(
    host: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    spec: str,
    settings: dict[str, str],
    variables: dict[str, str],
    error: type[Exception],
    why: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    runtime = "cuda" if spec.startswith("cuda:0") or spec == "cuda:1" else "onnxruntime"
    with pytest.raises(error, match=why) as caught:
        open_device(spec, runtime=runtime, **SETTINGS, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_cpu_builds_of_other_runtimes_name_what_to_install(
    host: dict[str, str], runtime: str
) -> None:
    pytest.importorskip(runtime)
    with pytest.raises(UnknownDeviceError, match="install"):
        open_device("cuda:0", runtime=runtime, **SETTINGS)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_sticky_error_ends_the_process_and_a_full_card_only_the_job(
    host: dict[str, str], monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    with open_device("cuda:0", runtime="cuda", driver=driver, **SETTINGS) as device:
        monkeypatch.setenv("STANDIN_MEMORY", str(1 << 20))
        jobs = [MatMul(1024, 1024, 1024), MatMul(2, 8, 8)]
        full, small = device.round(jobs, measure_s=0.001)
        assert "cuMemAlloc" in full.error
        assert small.samples_s
        monkeypatch.setenv("STANDIN_SYNC", "700")
        with pytest.raises(DeviceLostError, match="cuEventSynchronize"):
            list(device.round(jobs[1:], measure_s=0.001))


def _listed(variables: dict[str, str]) -> dict[str, DeviceInfo]:
    code = "from latprof.devices._gpus import list_gpus; import json, dataclasses; "
    code += "print(json.dumps([dataclasses.asdict(g) for g in list_gpus()]))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    )
    return {g["name"]: DeviceInfo(**g) for g in json.loads(done.stdout)}


def test_devices_lists_gpus_and_what_each_lacks(
    host: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = _listed(dict(os.environ))["cuda:0"]
    driver = f"pycuda {version('pycuda')}" if PYCUDA else "ctypes"
    assert gpu.description == f"Stand-in GPU, driven by {driver}"
    assert gpu.usable[0] == "cuda"
    old = _listed({**os.environ, "STANDIN_CODES": "sm_75"})["cuda:0"]
    if "cuda" not in old.usable:  # it is, where this Python has NVRTC
        assert "CUDA 13 no longer compiles" in dict(old.missing)["cuda"]
    missing = {name for name, _ in (tuple(pair) for pair in gpu.missing)}
    assert missing <= {"clocks", "onnxruntime", "pycuda", "torch"}
    assert ("pycuda" in missing) is not PYCUDA
    none = _listed({**os.environ, "STANDIN_GPUS": "0"})["cuda"]
    assert dict(none.missing) == {"all": "the driver sees none"}


def test_without_a_driver_devices_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has an NVIDIA driver")
    (line,) = _listed(dict(os.environ)).values()
    assert "no NVIDIA driver: libcuda.so.1 does not load" in dict(line.missing)["all"]


def test_a_gpu_over_ssh(built: dict[str, str], tmp_path: Path) -> None:
    if not (Path(SSHD).exists() and shutil.which("ssh")):
        pytest.skip("needs sshd and ssh (openssh)")
    python = tmp_path / "python3"
    exports = " ".join(f"{name}='{value}'" for name, value in built.items())
    python.write_text(f'#!/bin/sh\n{exports} exec {sys.executable} -P "$@"\n')
    python.chmod(0o755)
    server = start_sshd(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATPROF_SSH_OPTIONS", server.options)
        patch.setattr(AgentDevice, "sentinel", MatMul(8, 8, 8))
        try:
            with open_device(
                "ssh:box/cuda:0", runtime="cuda", python=str(python), **SETTINGS
            ) as device:
                (reading,) = device.round([MatMul(2, 8, 8)], measure_s=0.001)
                assert reading.samples_s
                assert device.target.device == "Stand-in GPU"
        finally:
            server.stop()
