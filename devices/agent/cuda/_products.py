"""Workloads as matrix products, for the project's kernels and for cuBLAS. Pure. Part of the agent.

All is row-major: C[z] = A[z] B[z] + bias. Channels first, a 1x1 convolution is weights (c_out,
c_in) times each image (c_in, h * w); channels last, it is pixels (batch * h * w, c_in) times
weights (c_in, c_out).
"""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_longlong, c_void_p
from dataclasses import dataclass

from latprof.devices.agent.runtimes._base import Refused
from latprof.workloads import Conv2d, MatMul, Workload

__all__ = ["Arrays", "Gemm", "Product", "product_of"]

_NO_BIAS, _BIAS_PER_ROW, _BIAS_PER_COLUMN = range(3)
_PICK_NONE, _PICK_ROWS_OF_A, _PICK_COLUMNS_OF_B = range(3)


class Gemm(ctypes.Structure):
    """gemm.cuh's, field by field."""

    _fields_ = [
        ("a", c_void_p), ("b", c_void_p), ("bias", c_void_p), ("c", c_void_p),
        ("stride_a", c_longlong), ("stride_b", c_longlong), ("stride_c", c_longlong),
        ("m", c_int), ("n", c_int), ("k", c_int), ("ldb", c_int), ("bias_axis", c_int),
        ("pick", c_int), ("stride", c_int), ("h_in", c_int), ("w_in", c_int),
        ("h_out", c_int), ("w_out", c_int),
    ]  # fmt: skip

    @property
    def picks(self) -> bool:
        """Whether a stride skips pixels, which no library's product does."""
        return int(self.pick) != _PICK_NONE

    @property
    def picks_columns(self) -> bool:
        return int(self.pick) == _PICK_COLUMNS_OF_B


@dataclass(frozen=True)
class Arrays:
    """What a kernel reads and writes.

    Args:
        dtype: of all of them.
        inputs: the pointer's field -> (name, shape).
        out: the pointer's field, and the shape.
        fan_in: products summed into one output; weights are scaled by its root.
    """

    dtype: str
    inputs: dict[str, tuple[str, tuple[int, ...]]]
    out: tuple[str, tuple[int, ...]]
    fan_in: int


@dataclass(frozen=True)
class Product:
    """``z`` products of one shape; ``gemm`` lacks its pointers."""

    gemm: Gemm
    arrays: Arrays
    z: int = 1


def product_of(workload: Workload, layout: str) -> Product:
    """Raises Refused where the workload is no matrix product."""
    match workload:
        case MatMul(weight_bits=0, pattern=""):
            return _matmul(workload)
        case Conv2d(kernel=1, groups=1):
            return _channels_first(workload) if layout == "nchw" else _channels_last(workload)
    raise Refused(
        f"cuda has kernels for matmuls, 1x1 and depthwise convolutions, not for {workload.label}; "
        "--runtime torch or onnxruntime take every op"
    )


def _matmul(w: MatMul) -> Product:
    out = ("c", (w.batch, w.m, w.n))
    if w.weights:
        gemm = Gemm(m=w.batch * w.m, n=w.n, k=w.k, ldb=w.n, bias_axis=_BIAS_PER_COLUMN)
        inputs: dict[str, tuple[str, tuple[int, ...]]] = {
            "a": ("x", (w.batch, w.m, w.k)),
            "b": ("weight", (w.k, w.n)),
            "bias": ("bias", (w.n,)),
        }
        return Product(gemm, Arrays(w.dtype, inputs, out, w.k))
    gemm = Gemm(m=w.m, n=w.n, k=w.k, ldb=w.n, bias_axis=_NO_BIAS)
    gemm.stride_a, gemm.stride_b, gemm.stride_c = w.m * w.k, w.k * w.n, w.m * w.n
    inputs = {"a": ("a", (w.batch, w.m, w.k)), "b": ("b", (w.batch, w.k, w.n))}
    return Product(gemm, Arrays(w.dtype, inputs, out, w.k), z=w.batch)


def _channels_first(w: Conv2d) -> Product:
    image, out_image = w.h * w.w, w.h_out * w.w_out
    gemm = Gemm(m=w.c_out, n=out_image, k=w.c_in, ldb=image, bias_axis=_BIAS_PER_ROW)
    gemm.stride_b, gemm.stride_c = w.c_in * image, w.c_out * out_image
    _pick(gemm, w, _PICK_COLUMNS_OF_B)
    inputs: dict[str, tuple[str, tuple[int, ...]]] = {
        "a": ("weight", (w.c_out, w.c_in)),
        "b": ("x", (w.batch, w.c_in, w.h, w.w)),
        "bias": ("bias", (w.c_out,)),
    }
    out = ("c", (w.batch, w.c_out, w.h_out, w.w_out))
    return Product(gemm, Arrays(w.dtype, inputs, out, w.c_in), z=w.batch)


def _channels_last(w: Conv2d) -> Product:
    pixels = w.batch * w.h_out * w.w_out
    gemm = Gemm(m=pixels, n=w.c_out, k=w.c_in, ldb=w.c_out, bias_axis=_BIAS_PER_COLUMN)
    _pick(gemm, w, _PICK_ROWS_OF_A)
    inputs: dict[str, tuple[str, tuple[int, ...]]] = {
        "a": ("x", (w.batch, w.h, w.w, w.c_in)),
        "b": ("weight", (w.c_in, w.c_out)),
        "bias": ("bias", (w.c_out,)),
    }
    out = ("c", (w.batch, w.h_out, w.w_out, w.c_out))
    return Product(gemm, Arrays(w.dtype, inputs, out, w.c_in))


def _pick(gemm: Gemm, w: Conv2d, which: int) -> None:
    if w.stride > 1:
        gemm.pick, gemm.stride = which, w.stride
        gemm.h_in, gemm.w_in, gemm.h_out, gemm.w_out = w.h, w.w, w.h_out, w.w_out
