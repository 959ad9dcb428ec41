"""On a real GPU: what the stand-in cannot show. Speeds are judged by benchmarks/cuda.py."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.gpu import SHAPES, Kernels, agrees, label

from latprof.devices import open_device, profile
from latprof.devices.agent.cuda._replay import flush_bytes
from latprof.errors import UnknownDeviceError
from latprof.workloads import Conv2d, Elementwise, MatMul, Pool, Workload

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module", params=["own-nchw", "own-nhwc", "cublas-nchw", "cublas-nhwc"])
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    which, layout = request.param.split("-")
    opened = Kernels(kernels=which, layout=layout)
    yield opened
    opened.close()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "workload", [*SHAPES, MatMul(1024, 512, 1025), MatMul(2048, 1024, 512)], ids=label
)
def test_kernels_are_right_to_their_dtypes_rounding(
    kernels: Kernels, workload: Workload, dtype: str
) -> None:
    workload = replace(workload, dtype=dtype)  # type: ignore[call-arg]
    strided = isinstance(workload, Conv2d) and (workload.depthwise or workload.stride > 1)
    if strided and not kernels.biased:
        return  # no product of cuBLAS's
    agrees(kernels, workload, seed=5)


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_vendors_runtimes_take_every_kind(runtime: str) -> None:
    pytest.importorskip(runtime)
    jobs: list[Workload] = [
        Conv2d(14, 14, 32, 64, batch=8),
        Conv2d(14, 14, 32, 32, kernel=3, groups=32),
        MatMul(7, 64, 100),
        Elementwise("hard_swish", 14, 14, 32),
        Pool("global_avg", 7, 7, 64),
    ]
    try:
        opened = open_device("cuda:0", runtime=runtime)
    except UnknownDeviceError as exc:  # a build for CPUs
        pytest.skip(str(exc))
    with opened as device:
        readings = list(device.round(jobs, measure_s=0.005))
    assert not [r.error for r in readings if r.error]


def test_two_of_four_weights_are_multiplied_and_other_precisions_refused() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("needs a GPU of compute capability 8.0 or later")
    jobs = [MatMul(256, 1024, 1024, pattern=p) for p in ("", "2:4")]
    with open_device("cuda:0", runtime="torch", precision="float16") as device:
        assert not [r.error for r in device.round(jobs, measure_s=0.005) if r.error]
    with open_device("cuda:0", runtime="torch") as device:
        (refused,) = device.round(jobs[1:], measure_s=0.005)
    assert "expected precision float16" in refused.error


@pytest.mark.parametrize("runtime", ["cuda", "torch"])
def test_cold_is_slower_where_l2_matters_and_equal_where_it_cannot(runtime: str) -> None:
    pytest.importorskip("torch") if runtime == "torch" else None
    latencies_s: dict[str, list[float]] = {}
    for cache in ("hot", "cold"):
        with open_device("cuda:0", runtime=runtime, cache=cache) as device:
            l2 = device.environment()["gpu"]["l2_bytes"]
            assert flush_bytes(l2) >= 2 * l2
            side = int((l2 / 8 / 4) ** 0.5) // 8 * 8  # weights of an eighth of L2
            far = int((4 * l2) ** 0.5) // 8 * 8  # of four times L2
            rows = {
                r.workload: r for r in profile(device, [MatMul(1, side, side), MatMul(1, far, far)])
            }
            latencies_s[cache] = [
                rows[w].latency_s for w in (MatMul(1, side, side), MatMul(1, far, far))
            ]
    small, large = (np.array(latencies_s["cold"]) / np.array(latencies_s["hot"])).tolist()
    assert small > 1.15
    assert 0.9 < large < 1.15


def test_the_cards_state_is_read_and_left_alone() -> None:
    pytest.importorskip("pynvml")
    with open_device("cuda:0", runtime="cuda") as device:
        list(device.round([MatMul(256, 256, 256)], measure_s=0.01))
        environment = device.environment()
    for when in ("gpu", "gpu_after"):
        assert environment[when]["sm_hz"] > 0
        assert environment[when]["power_cap_w"] > 0
        assert isinstance(environment[when]["reasons"], list)
        assert environment[when]["clock_locked"] is False
    assert environment["gpu"]["power_cap_w"] == environment["gpu_after"]["power_cap_w"]


@pytest.mark.slow
def test_the_benchmark_meets_its_limits() -> None:
    script = ROOT / "benchmarks" / "cuda.py"
    done = subprocess.run(
        [sys.executable, "-P", script], capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["passed"], result
