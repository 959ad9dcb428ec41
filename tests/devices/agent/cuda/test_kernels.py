"""The CUDA kernels compute their op at shapes that fill no tile, on the host, thread by thread.

The product's own path (compile, launch geometry, arguments, graphs) runs against a stand-in for
driver and compiler. Blocks' threads run in a random order between barriers, memory ends at a page
nobody may touch, outputs begin as NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.gpu import SHAPES, Kernels, agrees, build_stand_in, label

from latprof.cuda_src import SOURCES
from latprof.errors import DeviceLostError, WorkloadError
from latprof.workloads import Conv2d, MatMul, Workload


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return build_stand_in(tmp_path_factory.mktemp("stand_in"))


@pytest.fixture(
    scope="module",
    params=[
        # (capability, settings): sm_80 is where asynchronous copies begin.
        (70, {"layout": "nchw"}),
        (80, {"layout": "nhwc"}),
    ],
    ids=["sm_70-nchw", "sm_80-nhwc"],
)
def kernels(request: pytest.FixtureRequest, host: dict[str, str]) -> Iterator[Kernels]:
    capability, settings = request.param
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**host, "STANDIN_CAPABILITY": str(capability)}.items():
            patch.setenv(name, value)
        opened = Kernels(**settings)
        yield opened
        opened.close()


@pytest.fixture(scope="module", params=["nchw", "nhwc"])
def cublas(request: pytest.FixtureRequest, host: dict[str, str]) -> Iterator[Kernels]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in host.items():
            patch.setenv(name, value)
        opened = Kernels(kernels="cublas", layout=request.param)
        yield opened
        opened.close()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("workload", SHAPES, ids=label)
def test_kernels_compute_their_op(kernels: Kernels, workload: Workload, dtype: str) -> None:
    agrees(kernels, replace(workload, dtype=dtype), seed=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("workload", SHAPES, ids=label)
def test_cublas_is_called_for_the_same_products(
    cublas: Kernels, workload: Workload, dtype: str
) -> None:
    workload = replace(workload, dtype=dtype)  # type: ignore[call-arg]
    strided = isinstance(workload, Conv2d) and (workload.depthwise or workload.stride > 1)
    if strided:
        with pytest.raises(WorkloadError, match=r"stride|depthwise"):
            agrees(cublas, workload, seed=2)
    else:
        agrees(cublas, workload, seed=2)


#: (file, what is broken, by what, a shape that must show it)
_F32, _F16, _DW = MatMul(130, 40, 264), MatMul(130, 72, 264, dtype="float16"), SHAPES[-5]
FAULTS: list[tuple[str, str, str, Workload]] = [
    ("gemm_f32.cu", "__syncthreads();\n            buffer ^= 1;", "buffer ^= 1;", _F32),
    ("gemm_f32.cu", "put(buffer ^ 1);", "put(buffer);", _F32),
    ("gemm_f32.cu", "row + 16 * half]", "row + 8 * half]", _F32),
    ("gemm_f16.cu", "__syncthreads();  // this tile", "//", _F16),
    ("gemm_f16.cu", "wait_copies<RING - 2>();", "", _F16),
    ("gemm_f16.cu", "wait_copies<RING - 2>();", "wait_copies<RING - 1>();", _F16),
    ("gemm_f16.cu", "store(patch, sum[i][j], LDC);\n            __syncwarp();",
     "store(patch, sum[i][j], LDC);", _F16),
    ("gemm.cuh", "inside[i] && k0 + column(i) < k;", "inside[i];", MatMul(9, 36, 40)),
    ("gemm.cuh", "if (k0 + row(i) >= k) return out;", "", MatMul(9, 3, 65)),
    ("gemm.cuh", "pixel % g.w_out) * g.stride", "pixel % g.w_out)", Conv2d(8, 8, 24, 40, stride=2)),
    ("depthwise.cu", "__syncthreads();", "", _DW),
    ("depthwise.cu", "x >= 0 && x < d.w_in", "x < d.w_in", _DW),
]  # fmt: skip


@pytest.mark.slow  # each compiles anew
@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f[0]}: {f[1].split()[0]}")
def test_a_broken_kernel_is_noticed(
    fault: tuple[str, str, str, Workload],
    host: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, correct, broken, workload = fault
    assert correct in SOURCES[file]
    monkeypatch.setitem(SOURCES, file, SOURCES[file].replace(correct, broken))
    for name, value in {**host, "STANDIN_CAPABILITY": "80"}.items():
        monkeypatch.setenv(name, value)
    opened = Kernels()
    try:
        with pytest.raises((AssertionError, DeviceLostError)):
            agrees(opened, workload, seed=3)
    finally:
        opened.close()
