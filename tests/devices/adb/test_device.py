"""Phones as devices: the Device laws, few pushes, state restored, and what is refused."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.adbd import Phone, elf
from support.phone_jobs import JOBS, QUICK, Open

from latprof.devices import measure_files, run_inference
from latprof.devices.adb import PHONE_SETTINGS, list_phones, open_phone, settings_of
from latprof.devices.agent.runtimes._tflite_model import write_tflite
from latprof.errors import (
    DeviceError,
    DeviceLostError,
    ModelLoadError,
    UnknownDeviceError,
    UsageError,
)
from latprof.workloads import Conv2d, Elementwise, MatMul

pytest_plugins = ["support.adb"]


@pytest.fixture
def backend() -> str:
    return "direct"


def test_the_target_names_phone_cluster_tool_and_delegate(phone: Phone, open_device: Open) -> None:
    device = open_device(phone, "mid", threads="2", precision="float16")
    assert str(device.target).startswith("Pixel 6/mid [tflite benchmark_model ")
    assert device.target.to_dict() | {"runtime_version": ""} == {
        "device": "Pixel 6/mid",
        "runtime": "tflite",
        "runtime_version": "",
        "threads": 2,
        "precision": "float16",
        "delegate": "XNNPACK",
        "settings": {"fixed_performance": "on", "statistics": "p5 median p95"},
    }
    assert open_device(phone, "mid", cluster="little").target.device == "Pixel 6/little"


def test_one_reading_per_job_in_order_and_soon_few_pushes(phone: Phone, open_device: Open) -> None:
    device = open_device(phone)
    jobs = [*JOBS, JOBS[0], Conv2d(14, 14, 30, 32, kernel=1, groups=2, dtype="int8"), *JOBS[:3]]
    first = list(device.round(jobs, measure_s=0.02))
    assert len(first) == len(jobs)
    pushes = len(phone.pushes)
    second = list(device.round(jobs, measure_s=0.02))
    assert len(phone.pushes) == pushes  # the phone holds them all
    for a, b in zip(first, second, strict=True):
        assert bool(a.error) == bool(b.error)
        assert a.error or a.samples_s == tuple(sorted(a.samples_s))
    assert sum(bool(r.error) for r in second) <= 1


def test_a_file_runs_on_whatever_the_heat_and_its_memory_is_read(
    phone: Phone, open_device: Open, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(write_tflite(MatMul(1, 1024, 2048)))
    device = open_device(phone)
    running = device.sustain(path, measure_s=0.02)
    assert next(running).samples_s
    phone.set("throttled", "")  # a round would discard what comes now, and pause
    assert all(next(running).samples_s for _ in range(2))
    running.close()
    usage = device.usage(path, measure_s=0.02)
    assert usage.memory_bytes is not None
    assert usage.memory_bytes > 4 * 1024 * 2048
    assert set(usage.missing) == {"arena", "energy"}
    (tmp_path / "bad.tflite").write_bytes(b"no model")
    assert next(device.sustain(tmp_path / "bad.tflite", measure_s=0.02)).error


def test_everything_is_put_back(phone: Phone, open_device: Open) -> None:
    device = open_device(phone)
    assert (phone.get("fixed_performance"), phone.get("wakefulness")) == ("true", "Awake")
    found = device.environment()
    assert found["knobs"]["fixed_performance"] == "on"
    assert found["affinity"] == [6, 7]
    assert found["state_at_start"]["battery_percent"] == 87
    device.close()
    device.close()
    assert (phone.get("fixed_performance"), phone.get("wakefulness")) == ("false", "Asleep")
    assert not list(phone.tmp.iterdir())


def test_ctrl_c_in_the_middle_puts_everything_back(phone: Phone, open_device: Open) -> None:
    device = open_device(phone)

    def measure_on_and_on() -> None:
        with device:
            list(device.round(JOBS * 20, measure_s=0.1))

    threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        measure_on_and_on()
    assert (phone.get("fixed_performance"), phone.get("wakefulness")) == ("false", "Asleep")
    assert not list(phone.tmp.iterdir())


def test_what_a_killed_run_left_is_put_back_by_the_next(phone: Phone, open_device: Open) -> None:
    killed = open_device(phone)
    assert killed._transport
    killed._transport.close()
    killed._transport = None  # as kill -9 leaves it
    assert phone.get("fixed_performance") == "true"
    open_device(phone, fixed_performance="off", stay_awake="off")
    assert (phone.get("fixed_performance"), phone.get("wakefulness")) == ("false", "Asleep")


def test_numbers_are_the_interpreters(phone: Phone, open_device: Open, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(write_tflite([Conv2d(6, 6, 8, 12), Elementwise("scale", 6, 6, 12)]))
    rng = np.random.default_rng(0)
    inputs = {
        "input_0": rng.random((1, 6, 6, 8), np.float32),
        "input_1": rng.random((1, 1, 1, 12), np.float32),
    }
    device = open_device(phone)
    (ours,) = run_inference(device, path, inputs)
    (local,) = run_inference("tflite", path, inputs)
    np.testing.assert_allclose(ours, local, rtol=1e-6)
    with pytest.raises(ModelLoadError, match="the model takes"):
        run_inference(device, path, {"input_0": inputs["input_0"]})
    (tmp_path / "x.tflite").write_bytes(b"not a model at all")
    with pytest.raises(ModelLoadError, match="expected a TFLite model"):
        run_inference(device, tmp_path / "x.tflite", inputs)


def test_whole_models_are_timed(phone: Phone, open_device: Open, tmp_path: Path) -> None:
    small, large = tmp_path / "small.tflite", tmp_path / "large.tflite"
    small.write_bytes(write_tflite([Conv2d(14, 14, 32, 64)]))
    large.write_bytes(write_tflite([Conv2d(28, 28, 64, 256), Conv2d(28, 28, 256, 256)]))
    timings = measure_files(open_device(phone), [small, large], settings=QUICK)
    assert timings[1].latency_s > 5 * timings[0].latency_s > 0


def test_older_tools_give_minimum_mean_and_maximum(phone: Phone, open_device: Open) -> None:
    device = open_device(phone, tool="tf2.17")
    assert dict(device.target.settings)["statistics"] == "min mean max"
    (reading,) = device.round(JOBS[:1], measure_s=0.02)
    assert reading.samples_s == tuple(sorted(reading.samples_s))


@pytest.mark.parametrize(
    "delegate", ["GPU", *(pytest.param(d, marks=pytest.mark.slow) for d in ("NNAPI", "none"))]
)
def test_delegates_are_part_of_the_target(phone: Phone, open_device: Open, delegate: str) -> None:
    device = open_device(phone, delegate=delegate)
    assert device.target.delegate == delegate
    assert not next(device.round(JOBS, measure_s=0.02)).error
    flag = {"GPU": "--use_gpu=true", "NNAPI": "--use_nnapi=true", "none": "--use_xnnpack=false"}
    assert flag[delegate] in phone.commands[-1]


def test_litert_s_own_tool(phone: Phone, open_device: Open, tmp_path: Path) -> None:
    device = open_device(phone, tool="litert2.2")
    assert dict(device.target.settings)["statistics"] == "p5 median p95"
    half = dataclasses.replace(JOBS[0], dtype="float16")  # type: ignore[call-arg]
    first, refused = device.round([JOBS[0], half], measure_s=0.02)
    assert first.samples_s
    assert "--use_cpu=true" in phone.commands[-1]
    assert "LiteRT's benchmark_model does not compute in float16" in refused.error
    with pytest.raises(UsageError, match="saves no outputs"):
        device.run(tmp_path / "m.tflite", {})


def test_an_npu_is_given_its_libraries(phone: Phone, open_device: Open) -> None:
    npu = {"delegate": "NPU", "dispatch_library_path": "/data/local/tmp/npu"}
    device = open_device(phone, tool="litert2.2", **npu)
    assert device.target.delegate == "NPU"
    assert dict(device.target.settings)["dispatch_library_path"] == "/data/local/tmp/npu"
    assert settings_of(device.target).items() >= npu.items()
    (reading,) = device.round(JOBS[:1], measure_s=0.02)
    assert reading.samples_s
    assert "ADSP_LIBRARY_PATH=/data/local/tmp/npu ./benchmark_model" in phone.commands[-1]
    assert "--use_npu=true --use_cpu=false --require_full_delegation=true" in phone.commands[-1]
    phone.set("refuses_NPU", "")
    assert "Some ops are not accelerated" in next(device.round(JOBS, measure_s=0.02)).error


def test_half_precision_by_workload(phone: Phone, open_device: Open) -> None:
    device = open_device(phone)
    half = Conv2d(14, 14, 64, 80, dtype="float16")
    readings = list(device.round([JOBS[0], half], measure_s=0.02))
    assert not any(r.error for r in readings)
    (run,) = (c for c in reversed(phone.commands) if "--xnnpack_force_fp16=true" in c)
    assert run.count("--xnnpack_force_fp16=true") == 1


def test_a_phone_that_was_lost_is_connected_once_more_to_put_it_back(
    phone: Phone, open_device: Open
) -> None:
    device = open_device(phone)
    phone.unplug()
    with pytest.raises(DeviceLostError):
        list(device.round(JOBS, measure_s=0.02))
    assert "state" not in device.environment()
    assert phone.get("fixed_performance") == "true"
    device.close()
    assert (phone.get("fixed_performance"), phone.get("wakefulness")) == ("false", "Asleep")


def test_two_runs_on_one_phone(phone: Phone, open_device: Open) -> None:
    first, second = open_device(phone), open_device(phone)
    for _ in range(2):
        with pytest.raises(DeviceError, match="another run has taken the phone"):
            list(first.round(JOBS, measure_s=0.02))
    first.close()
    assert phone.get("fixed_performance") == "true"  # the second one's
    assert not next(second.round(JOBS, measure_s=0.02)).error


def test_float32_ops_timed_in_int8(phone: Phone, open_device: Open) -> None:
    device = open_device(phone, precision="int8")
    assert device.target.precision == "int8"
    jobs = [
        JOBS[0],
        Elementwise("layer_norm", 49, 1, 64),
        dataclasses.replace(JOBS[0], dtype="int8"),
    ]
    quantized, norm, same = device.round(jobs, measure_s=0.02)
    assert "layer_norm in int8" in norm.error
    assert quantized.samples_s
    assert same.samples_s
    held = [bytes(f.read_bytes()) for f in (phone.tmp / "latprof").glob("m*.tflite")]
    # Three probes, the sentinel, and one model for the two jobs that are the same.
    assert len(held) == 5


# -- what cannot be opened -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"cluster": "huge"}, UnknownDeviceError, "no cluster 'huge'"),
        ({"threads": "3"}, UsageError, "Pixel 6/big has 2 cores"),
        ({"precision": "int4"}, UsageError, "expected one of float32, float16, int8"),
        ({"delegate": "NPU"}, UsageError, "has no delegate 'NPU'"),
        ({"dispatch_library_path": "/npu"}, UsageError, "is for delegate=NPU"),
        ({"delegate": "HEXAGON"}, UsageError, "expected one of XNNPACK"),
        ({"fixed_performance": "maybe"}, UsageError, "expected true or false"),
        ({"pause_s": "long"}, UsageError, "expected seconds"),
        ({"colour": "red"}, UsageError, "has no setting 'colour'; its settings are backend"),
        ({"backend": "serial"}, UsageError, "expected one of auto, server, direct"),
        ({"tool": "tf1.14"}, DeviceError, "does not know --use_xnnpack=true"),
        ({"benchmark_model_sha256": "00"}, UsageError, "expected 00"),
    ],
)
def test_what_is_refused_at_the_door(
    phone: Phone, open_device: Open, settings: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        open_device(phone, **settings)
    assert phone.get("fixed_performance") == "false"


def test_a_binary_for_another_abi(phone: Phone, open_device: Open, tmp_path: Path) -> None:
    (tmp_path / "x86").write_bytes(elf(machine=62))
    with pytest.raises(UsageError, match="built for x86_64; the phone's ABI is arm64-v8a"):
        open_device(phone, benchmark_model=str(tmp_path / "x86"))
    phone.set("ro.product.cpu.abi", "x86_64")  # the phone lies: its kernel refuses the file
    with pytest.raises(DeviceError, match="not executable: 64-bit ELF file"):
        open_device(phone, benchmark_model=str(tmp_path / "x86"))


def test_a_phone_that_will_not_be_pinned(phone: Phone, open_device: Open) -> None:
    phone.set("cpuset", "f")
    with pytest.raises(DeviceError, match="asked for CPU mask c0, the phone gives f"):
        open_device(phone)


def test_other_runtimes() -> None:
    with pytest.raises(UnknownDeviceError, match="phones run tflite"):
        open_phone("adb:x", runtime="onnxruntime", threads=1)
    with pytest.raises(UnknownDeviceError, match="expected SERIAL or HOST:PORT"):
        open_phone("adb:host:port", runtime="tflite", threads=1, backend="direct")
    names = [setting.name for setting in PHONE_SETTINGS]
    assert names == sorted(names)


@pytest.mark.skipif(shutil.which("adb") is None, reason="no adb on the PATH")
def test_two_phones_and_no_serial(
    adb: Callable[..., Any], phone: Phone, home: Path, tmp_path: Path
) -> None:
    key = (home / ".android/adbkey.pub").read_text()
    with pytest.raises(UnknownDeviceError, match="no phone is attached"):
        open_phone("adb:", runtime="tflite", threads=1, backend="server")
    assert list_phones() == []
    with Phone(tmp_path / "stranger", allow=False) as stranger:
        adb("connect", stranger.serial)
        (listed,) = list_phones()
        assert "tap 'Allow'" in dict(listed.missing)["tflite"]
        adb("disconnect", stranger.serial)
    with Phone(tmp_path / "other", authorized=(key,)) as other:
        adb("connect", phone.serial)
        adb("connect", other.serial)
        names = sorted(f"adb:{p.serial}" for p in (phone, other))
        with pytest.raises(UnknownDeviceError, match=f"2 phones .* one of {', '.join(names)}"):
            open_phone("adb", runtime="tflite", threads=1, backend="server")
        listed = list_phones()
        assert sorted(info.name for info in listed) == names
        assert {info.description for info in listed} == {"Pixel 6"}
        adb("disconnect", other.serial)
    tool = tmp_path / "benchmark_model"
    tool.write_bytes(elf())
    with open_phone(
        "adb:", runtime="tflite", threads=1, backend="server", benchmark_model=str(tool)
    ) as only:
        assert only.target.device == "Pixel 6/big"
    adb("disconnect", phone.serial)
