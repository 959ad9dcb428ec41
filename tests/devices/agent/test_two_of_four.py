"""Products of 2:4 weights on a GPU, up to the call that packs the weights, which needs one.

The stand-in for that call holds what torch documents: at most two non-zeros in every four inputs,
and sizes that its kernels take; it gives the dense weight back.
"""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
import torch

from latprof.devices.agent.runtimes import _torch_two_of_four as module
from latprof.devices.agent.runtimes._base import Refused
from latprof.workloads import MatMul

CPU = torch.device("cpu")
SHAPE = MatMul(8, 128, 64, dtype="float16", pattern="2:4")


def packed(weight):  # type: ignore[no-untyped-def]
    outputs, inputs = weight.shape
    if outputs % 32 or inputs % 64:
        raise RuntimeError(f"shape {outputs}x{inputs} is not supported")
    kept = weight.reshape(outputs, -1, 4).count_nonzero(-1)
    assert weight.dtype == torch.float16
    assert int(kept.max()) == 2
    return weight


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "to_sparse_semi_structured", packed)


def test_half_of_the_weights_are_multiplied() -> None:
    linear, shapes = module.two_of_four(SHAPE, CPU, (8, 6))
    assert shapes == {"x": (1, 8, 128)}
    assert linear.weight.count_nonzero() == 64 * 64
    x = torch.randn(1, 8, 128, dtype=torch.float16)
    changed = x.clone()
    changed[..., 2::4] = changed[..., 3::4] = 9.0  # inputs whose weights are zeros
    torch.testing.assert_close(linear(changed), linear(x))


@pytest.mark.parametrize(
    ("workload", "capability", "why"),
    [
        (SHAPE, (7, 5), "capability 7.5: expected 8.0"),
        (SHAPE.with_dtype("float32"), (8, 0), "expected precision float16"),
        (SHAPE.with_channels(72, 64), (9, 0), "of 72 to 64: shape 64x72 is not supported"),
    ],
)
def test_what_has_no_kernel_is_refused(
    workload: MatMul, capability: tuple[int, int], why: str
) -> None:
    with pytest.raises(Refused, match=why):
        module.two_of_four(workload, CPU, capability)
