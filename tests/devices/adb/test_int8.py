"""int8 TFLite ops compute what their float32 originals compute, to a quantization step or two."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from latprof.devices.adb._models import Repeated, write_repeated
from latprof.devices.agent.runtimes._base import Refused
from latprof.devices.agent.runtimes._tflite_model import write_tflite
from latprof.workloads import ELEMENTWISE_OPS, POOL_OPS, Conv2d, Elementwise, MatMul, Pool, Workload

Array = npt.NDArray[np.float32]

IN_FLOATS = ("embedding", "layer_norm", "neg", "rsqrt", "square")
WORKLOADS: tuple[Workload, ...] = (
    Conv2d(14, 14, 64, 64),
    Conv2d(14, 14, 24, 40, kernel=3, stride=2),
    Conv2d(14, 14, 32, 32, kernel=3, groups=32),
    Conv2d(14, 14, 32, 64, groups=4),
    MatMul(4, 64, 80),
    MatMul(16, 32, 16, batch=2, weights=False),
    *(Elementwise(op, 7, 7, 16) for op in ELEMENTWISE_OPS if op not in IN_FLOATS),
    *(Pool(op, 8, 8, 16, kernel=3, stride=2) for op in POOL_OPS),
)


def _output(model: bytes, *, xnnpack: bool) -> tuple[Array, float, int]:
    """Output on normals, dequantized, the size of one of its steps (0: float32), zero point."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    kinds = litert.OpResolverType
    runner = litert.Interpreter(
        model_content=model,
        num_threads=1,
        experimental_op_resolver_type=kinds.AUTO
        if xnnpack
        else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    runner.allocate_tensors()
    rng = np.random.default_rng(0)
    for detail in runner.get_input_details():
        values = rng.standard_normal(detail["shape"]).astype(np.float32)
        if detail["dtype"] == np.int8:
            scale, zero = detail["quantization"]
            values = np.clip(np.round(values / scale) + zero, -128, 127).astype(np.int8)
        runner.set_tensor(detail["index"], values)
    runner.invoke()
    (detail,) = runner.get_output_details()
    output = runner.get_tensor(detail["index"]).astype(np.float32)
    scale, zero = detail["quantization"]
    return ((output - zero) * scale, scale, zero) if scale else (output, 0.0, 0)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.family)
@pytest.mark.parametrize("xnnpack", [True, False])
def test_int8_is_float32_to_a_few_steps(workload: Workload, xnnpack: bool) -> None:
    expected, *_ = _output(write_tflite(workload), xnnpack=xnnpack)
    quantized = dataclasses.replace(workload, dtype="int8")  # type: ignore[call-arg]
    got, step, zero = _output(write_tflite(quantized), xnnpack=xnnpack)
    assert step > 0
    # Inputs are off by half a step (0.025) each; sums of products add them up as a random walk.
    allowed = 0.025 + step * (8 if workload.kind == "matmul" else 2.5)
    inside = np.clip(expected, (-128 - zero) * step, (127 - zero) * step)
    assert np.abs(got - inside).max() <= allowed
    assert write_repeated(Repeated(quantized, 3))[4:8] == b"TFL3"


def test_what_has_no_int8_says_so() -> None:
    for op in IN_FLOATS:
        with pytest.raises(Refused, match=f"{op} in int8"):
            write_tflite(Elementwise(op, 7, 1, 16, dtype="int8"))
    with pytest.raises(Refused, match="expected float32 or int8"):
        write_tflite(Conv2d(7, 7, 8, 8, dtype="float16"))
    with pytest.raises(Refused, match="dtypes are float32, int8; expected one"):
        write_tflite([Conv2d(7, 7, 8, 8), Conv2d(7, 7, 8, 8, dtype="int8")])
