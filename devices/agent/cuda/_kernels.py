"""Which kernel runs a workload, and over what grid. Pure. Part of the agent."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_void_p
from dataclasses import dataclass

from latprof.devices.agent.cuda._products import Arrays, product_of
from latprof.devices.agent.runtimes._base import Refused
from latprof.workloads import DTYPE_BYTES, Conv2d, Workload

__all__ = ["FILES", "SHARED_BYTES", "Launch", "plan_launch"]

#: The sources that hold kernels.
FILES = ("depthwise.cu", "gemm_f16.cu", "gemm_f32.cu", "utility.cu")
_SHORT = {"float32": "f32", "float16": "f16"}
_CHUNK_BYTES = 16
_MAX_GRID_Y = 65535
_DEPTHWISE_THREADS = 256
_DEPTHWISE_SHARED_BYTES = 32 << 10  # so that several blocks fit on a multiprocessor
_DEPTHWISE_TILE = 32

#: (rows, columns) of the tile of C that a block makes, the largest first -> threads, and bytes of
#: dynamic shared memory: in gemm_f16.cu a ring of 3 tiles of A, (rows, 32), and B, (32, columns),
#: each row 8 halves longer.
_TILES: dict[str, dict[tuple[int, int], tuple[int, int]]] = {
    "float32": {(128, 128): (256, 0), (64, 64): (64, 0), (32, 64): (32, 0)},
    "float16": {
        (m, n): (128, 3 * 2 * (m * (32 + 8) + 32 * (n + 8))) for m, n in ((128, 128), (64, 64))
    },
}
#: The most dynamic shared memory that any kernel asks for.
SHARED_BYTES = max(shared for tiles in _TILES.values() for _, shared in tiles.values())


class _Depthwise(ctypes.Structure):
    """depthwise.cu's, field by field."""

    _fields_ = [
        ("x", c_void_p), ("weight", c_void_p), ("bias", c_void_p), ("y", c_void_p),
        ("batch", c_int), ("c", c_int), ("h_in", c_int), ("w_in", c_int), ("h_out", c_int),
        ("w_out", c_int), ("kernel", c_int), ("stride", c_int), ("dilation", c_int),
        ("padding", c_int), ("tile_c", c_int), ("tile_h", c_int), ("tile_w", c_int),
    ]  # fmt: skip


@dataclass(frozen=True)
class Launch:
    """One kernel launch; ``argument``, the kernel's only one, lacks its pointers."""

    kernel: str
    grid: tuple[int, int]
    block: int
    shared_bytes: int
    argument: ctypes.Structure
    arrays: Arrays


def plan_launch(workload: Workload, *, layout: str, multiprocessors: int) -> Launch:
    """How the project's kernels run a workload.

    Raises:
        Refused: none of them computes it, or its grid is too large.
    """
    if workload.dtype not in _SHORT:
        raise Refused(f"cuda {workload.label} in {workload.dtype}: expected float32 or float16")
    if isinstance(workload, Conv2d) and workload.depthwise:
        launch = _planes(workload) if layout == "nchw" else _pixels(workload)
    else:
        launch = _gemm(workload, layout, multiprocessors)
    if launch.grid[1] > _MAX_GRID_Y:
        raise Refused(
            f"{workload.label}: {launch.grid[1]} blocks along y; expected <= {_MAX_GRID_Y}"
        )
    return launch


def _gemm(workload: Workload, layout: str, multiprocessors: int) -> Launch:
    product = product_of(workload, layout)
    gemm, dtype = product.gemm, workload.dtype
    # The largest tile that gives every multiprocessor a block: it reads each operand least often.
    tile, blocks = (0, 0), 0
    for tile in _TILES[dtype]:
        blocks = -(-gemm.m // tile[0]) * -(-gemm.n // tile[1])
        if blocks * product.z >= multiprocessors:
            break
    chunk = _CHUNK_BYTES // DTYPE_BYTES[dtype]
    aligned = not (gemm.k % chunk or gemm.n % chunk or gemm.ldb % chunk or gemm.picks_columns)
    threads, shared = _TILES[dtype][tile]
    return Launch(
        kernel=f"gemm_{_SHORT[dtype]}_{tile[0]}x{tile[1]}{'' if aligned else '_unaligned'}",
        grid=(blocks, product.z),
        block=threads,
        shared_bytes=shared,
        argument=gemm,
        arrays=product.arrays,
    )


def _planes(w: Conv2d) -> Launch:
    """Channels first: tiles of a plane, of several planes where they are small."""
    argument = _sizes(w)
    tile_h, tile_w = min(w.h_out, _DEPTHWISE_TILE), min(w.w_out, _DEPTHWISE_TILE)
    while tile_h > 1 and _planes_bytes(w, 1, tile_h, tile_w) > _DEPTHWISE_SHARED_BYTES:
        tile_h = -(-tile_h // 2)
    planes = max(1, _DEPTHWISE_THREADS // (tile_h * tile_w))
    fitting = _DEPTHWISE_SHARED_BYTES // _planes_bytes(w, 1, tile_h, tile_w)
    if not fitting:
        raise Refused(f"{w.label}: one row of outputs needs more shared memory than a block has")
    tile_c = min(planes, fitting, w.batch * w.c_out)
    argument.tile_c, argument.tile_h, argument.tile_w = tile_c, tile_h, tile_w
    grid = (-(-w.batch * w.c_out // tile_c), -(-w.h_out // tile_h) * -(-w.w_out // tile_w))
    arrays = Arrays(
        w.dtype,
        {
            "x": ("x", (w.batch, w.c_in, w.h, w.w)),
            "weight": ("weight", (w.c_out, w.kernel, w.kernel)),
            "bias": ("bias", (w.c_out,)),
        },
        ("y", (w.batch, w.c_out, w.h_out, w.w_out)),
        w.kernel**2,
    )
    shared = _planes_bytes(w, tile_c, tile_h, tile_w)
    kernel = f"depthwise_{_SHORT[w.dtype]}_nchw"
    return Launch(kernel, grid, _DEPTHWISE_THREADS, shared, argument, arrays)


def _planes_bytes(w: Conv2d, tile_c: int, tile_h: int, tile_w: int) -> int:
    """Shared memory of float32 inputs, rim included, and weights."""
    reach = (w.kernel - 1) * w.dilation + 1
    inputs = ((tile_h - 1) * w.stride + reach) * ((tile_w - 1) * w.stride + reach)
    return 4 * tile_c * (inputs + w.kernel**2)


def _pixels(w: Conv2d) -> Launch:
    """Channels last: a thread per chunk of channels of a pixel."""
    chunk = _CHUNK_BYTES // DTYPE_BYTES[w.dtype]
    wide = chunk if w.c_out % chunk == 0 else 1
    threads = w.batch * w.h_out * w.w_out * w.c_out // wide
    arrays = Arrays(
        w.dtype,
        {
            "x": ("x", (w.batch, w.h, w.w, w.c_in)),
            "weight": ("weight", (w.kernel, w.kernel, w.c_out)),
            "bias": ("bias", (w.c_out,)),
        },
        ("y", (w.batch, w.h_out, w.w_out, w.c_out)),
        w.kernel**2,
    )
    kernel = f"depthwise_{_SHORT[w.dtype]}_nhwc{'' if wide > 1 else '_unaligned'}"
    grid = (-(-threads // _DEPTHWISE_THREADS), 1)
    return Launch(kernel, grid, _DEPTHWISE_THREADS, 0, _sizes(w), arrays)


def _sizes(w: Conv2d) -> _Depthwise:
    return _Depthwise(
        batch=w.batch, c=w.c_out, h_in=w.h, w_in=w.w, h_out=w.h_out, w_out=w.w_out,
        kernel=w.kernel, stride=w.stride, dilation=w.dilation, padding=w.padding,
    )  # fmt: skip
