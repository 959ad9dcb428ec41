"""The laws of Device, for every device that needs no hardware of its own."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from support.devices import SSHD, children, start_sshd

from latprof.devices import Device, FakeDevice, Job, list_devices, open_device
from latprof.devices.agent.runtimes._onnx_model import write_onnx
from latprof.devices.agent.runtimes._tflite_model import write_tflite
from latprof.workloads import Conv2d, Elementwise, MatMul, Pool, Workload

JOBS: list[Job] = [Conv2d(7, 7, 16, 24), MatMul(4, 8, 16), Elementwise("add", 7, 7, 16)]
#: No runtime takes it: float16 has no TFLite writer here, and int8 gelu none elsewhere.
REFUSED: dict[str, Workload] = {
    "tflite": Pool("max", 7, 7, 16, dtype="float16"),
    "fake": Pool("avg", 7, 7, 16, kernel=3),
}
OTHERWISE = Elementwise("gelu", 7, 7, 16, dtype="int8")

DEVICES: dict[str, Callable[[], Device]] = {
    "fake": lambda: FakeDevice(refuses=lambda job: job == REFUSED["fake"]),
    "onnxruntime": lambda: open_device("local"),
    "tflite": lambda: open_device("local", runtime="tflite"),
    "torch": lambda: open_device("local", runtime="torch"),
    "ssh": lambda: open_device("ssh:box", python=sys.executable),
}


@pytest.fixture(scope="module", params=list(DEVICES))
def device(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Device]:
    if request.param != "ssh":
        with DEVICES[request.param]() as opened:
            yield opened
        return
    if not (Path(SSHD).exists() and shutil.which("ssh")):
        pytest.skip("needs sshd and ssh (openssh)")
    server = start_sshd(tmp_path_factory.mktemp("sshd"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATPROF_SSH_OPTIONS", server.options)
        try:
            with DEVICES["ssh"]() as opened:
                yield opened
        finally:
            server.stop()


def test_one_reading_per_job_in_order_though_one_is_refused(device: Device) -> None:
    refused = REFUSED.get(device.target.runtime, OTHERWISE)
    jobs = [JOBS[0], refused, JOBS[1], JOBS[0], JOBS[2], refused]
    readings = list(device.round(jobs, measure_s=0.002))
    assert [bool(r.error) for r in readings] == [job == refused for job in jobs]
    assert all("\n" not in r.error for r in readings)
    done = [reading for reading in readings if not reading.error]
    assert all(0 < r.core_share <= 1 and r.cost_s > 0 and r.sentinel_s > 0 for r in done)


def test_readings_come_as_they_are_made_and_leaving_early_ends_the_round(device: Device) -> None:
    before = len(children(os.getpid()))
    round_ = device.round(JOBS * 50, measure_s=0.002)
    assert next(round_).samples_s
    round_.close()
    assert len(children(os.getpid())) == before
    assert len(list(device.round(JOBS, measure_s=0.002))) == len(JOBS)


def test_the_target_is_one_and_goes_through_json(device: Device) -> None:
    first = device.target
    list(device.round(JOBS, measure_s=0.002))
    assert device.target == first
    assert type(first).from_dict(json.loads(json.dumps(first.to_dict()))) == first


def test_the_environment_is_json_and_names_refusals(device: Device) -> None:
    found = device.environment()
    assert json.loads(json.dumps(found)) == found
    assert "refused" in found


def test_the_sentinel_runs(device: Device) -> None:
    (reading,) = device.round([device.sentinel], measure_s=0.002)
    assert reading.samples_s


def test_memory_and_energy_are_figures_or_reasons(device: Device, tmp_path: Path) -> None:
    runtime = device.target.runtime
    write = write_tflite if runtime == "tflite" else write_onnx
    file = tmp_path / f"model.{runtime}"
    file.write_bytes(write(MatMul(1, 2048, 2048)))
    if runtime == "torch":
        file = tmp_path / "model.pt2"
        layer = torch.nn.Linear(2048, 2048)
        torch.export.save(torch.export.export(layer, (torch.ones(1, 2048),)), file)
    usage = device.usage(file, measure_s=0.01)
    figures = {"memory": usage.memory_bytes, "arena": usage.arena_bytes, "energy": usage.energy_j}
    assert {name for name, figure in figures.items() if figure is None} == set(usage.missing)
    assert usage.memory_bytes is not None
    assert usage.memory_bytes >= 2048 * 2048 * 4  # its weights
    assert usage.memory_bytes < 10 * 2048 * 2048 * 4
    if runtime == "onnxruntime":
        assert usage.arena_bytes is not None


def test_closing_twice_is_closing_once(device: Device) -> None:
    device.close()
    device.close()


def test_what_is_there_is_listed() -> None:
    local = list_devices()[0]
    assert local.name == "local"
    assert local.description
    assert set(local.usable) | {runtime for runtime, _ in local.missing} == {
        "onnxruntime", "tflite", "torch",
    }  # fmt: skip


def test_a_host_that_is_not_there_is_listed_with_the_reason() -> None:
    found = list_devices(["ssh:nowhere.invalid"])[-1]
    assert (found.name, found.usable) == ("ssh:nowhere.invalid", ())
    assert "no host is called nowhere.invalid" in dict(found.missing)["all"]
