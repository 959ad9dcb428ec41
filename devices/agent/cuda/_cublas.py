"""cuBLAS, for matrix products under the same timing. Part of the agent: standard library only."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import byref, c_float, c_int, c_longlong, c_void_p

from latprof.devices.agent.cuda._driver import CudaError
from latprof.devices.agent.cuda._library import load_library
from latprof.devices.agent.cuda._products import Gemm
from latprof.devices.agent.runtimes._base import NoDevice, Refused

__all__ = ["Cublas"]

_VERSIONS = ("13", "12", "11")
# library_types.h, cublas_api.h
_NO_TRANSPOSE = 0
_DTYPES = {"float32": 0, "float16": 2}  # CUDA_R_32F, CUDA_R_16F
_COMPUTE_32F, _COMPUTE_32F_FAST_TF32 = 68, 77
_DEFAULT_ALGORITHM = -1


class Cublas:
    """A handle on one stream.

    Args:
        stream: the raw handle of the stream that calls are enqueued on.
        precision: ``float32`` without TF32, ``tf32``, or ``float16`` summed in float32.
        workspace: (pointer, bytes) of device memory: without one, calls captured into graphs
            would allocate.
    """

    def __init__(self, stream: int, precision: str, workspace: tuple[int, int]) -> None:
        library = load_library("cublas", _VERSIONS)
        if library is None:
            raise NoDevice(
                "cuBLAS is not there (libcublas.so.12 or .13); pip install nvidia-cublas-cu12"
            )
        self._library = library
        self._handle = c_void_p()
        self._check("cublasCreate_v2", byref(self._handle))
        self._check("cublasSetStream_v2", self._handle, c_void_p(stream))
        pointer, size = workspace
        self._check("cublasSetWorkspace_v2", self._handle, c_void_p(pointer), ctypes.c_size_t(size))
        number = c_int()
        self._check("cublasGetVersion_v2", self._handle, byref(number))
        self.version = f"{number.value // 10000}.{number.value // 100 % 100}.{number.value % 100}"
        self._compute = _COMPUTE_32F_FAST_TF32 if precision == "tf32" else _COMPUTE_32F
        self._one, self._zero = c_float(1.0), c_float(0.0)

    def _check(self, name: str, *arguments: object) -> None:
        result = getattr(self._library, name)(*arguments)
        if result:
            raise CudaError(f"{name}: cuBLAS status {result}")

    def product(self, gemm: Gemm, z: int, dtype: str) -> Callable[[], None]:
        """A call that enqueues ``z`` products, without the bias, which cuBLAS has no word for.

        cuBLAS is column-major: the row-major C = A B is the column-major C' = B' A', on the same
        memory.

        Raises:
            Refused: a stride skips pixels.
        """
        if gemm.picks:
            raise Refused("cuBLAS takes no stride; measure this 1x1 convolution with kernels=own")
        kind = c_int(_DTYPES[dtype])
        n, m, k = c_int(gemm.n), c_int(gemm.m), c_int(gemm.k)
        compute = _COMPUTE_32F if dtype == "float16" else self._compute
        arguments = (
            self._handle, c_int(_NO_TRANSPOSE), c_int(_NO_TRANSPOSE), n, m, k, byref(self._one),
            c_void_p(gemm.b), kind, c_int(gemm.ldb), c_longlong(gemm.stride_b),
            c_void_p(gemm.a), kind, k, c_longlong(gemm.stride_a), byref(self._zero),
            c_void_p(gemm.c), kind, n, c_longlong(gemm.stride_c), c_int(z),
            c_int(compute), c_int(_DEFAULT_ALGORITHM),
        )  # fmt: skip

        def call() -> None:
            self._check("cublasGemmStridedBatchedEx", *arguments)

        return call
