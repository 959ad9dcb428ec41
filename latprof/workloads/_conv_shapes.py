"""The workload of a convolution, from its shapes alone; what traces and files share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from latprof.workloads._conv2d import Conv2d
from latprof.workloads._matmul import MatMul
from latprof.workloads._workload import Workload

__all__ = ["conv_transpose_workload", "conv_workload"]


def conv_workload(
    shape: Sequence[int],
    made: Sequence[int],
    weight: Sequence[int],
    groups: int,
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Workload:
    """Square 2-D kernels as Conv2d, others as the matrix product that computes them.

    ``Conv2d`` pads every side by ``dilation * (kernel - 1) // 2``; where the model pads
    otherwise, the input is taken of the size that gives the model's output.

    Args:
        shape: of the input (batch, c_in, ...).
        made: of the output (batch, c_out, ...).
        weight: (c_out, c_in / groups, *kernel).
    """
    kernel, pixels = weight[2:], math.prod(made[2:])
    batch, c_in, c_out = shape[0], shape[1], weight[0]
    if len(kernel) == 2 and len(set(kernel)) == len(set(stride)) == len(set(dilation)) == 1:
        k, s, d = kernel[0], stride[0], dilation[0]
        reach = d * (k - 1) - 2 * (d * (k - 1) // 2)
        h, w = (
            next(
                size
                for size in (n, out * s, (out - 1) * s + 1 + reach)
                if (size - 1 - reach) // s + 1 == out
            )
            for n, out in zip(shape[2:], made[2:], strict=True)
        )
        return Conv2d(
            h=h, w=w, c_in=c_in, c_out=c_out, kernel=k, stride=s, groups=groups, dilation=d,
            batch=batch,
        )  # fmt: skip
    taps = math.prod(kernel)
    if groups == 1:
        return MatMul(m=pixels * batch, k=c_in * taps, n=c_out)
    return MatMul(
        m=pixels * batch, k=c_in // groups * taps, n=c_out // groups, batch=groups, weights=False
    )


def conv_transpose_workload(shape: Sequence[int], weight: Sequence[int]) -> MatMul:
    """A dense transposed convolution: every input pixel makes a kernel of outputs.

    Args:
        shape: of the input (batch, c_in, ...).
        weight: (c_in, c_out, *kernel).
    """
    taps = math.prod(weight[2:])
    return MatMul(m=shape[0] * math.prod(shape[2:]), k=weight[0], n=weight[1] * taps)
