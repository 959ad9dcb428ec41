"""Workloads: one op at one shape, as pure data, one kind of op per file."""

from __future__ import annotations

from latprof.workloads._attention import Attention
from latprof.workloads._conv2d import Conv2d
from latprof.workloads._conv_shapes import conv_transpose_workload, conv_workload
from latprof.workloads._elementwise import ELEMENTWISE_OPS, Elementwise
from latprof.workloads._matmul import WEIGHT_BITS, WEIGHT_BLOCK, WEIGHT_PATTERNS, MatMul
from latprof.workloads._model_workloads import ModelWorkloads
from latprof.workloads._pool import POOL_OPS, Pool
from latprof.workloads._read import KINDS, workload_from_dict
from latprof.workloads._softmax_shapes import softmax_workload
from latprof.workloads._workload import DTYPE_BYTES, Workload

__all__ = [
    "DTYPE_BYTES",
    "ELEMENTWISE_OPS",
    "KINDS",
    "POOL_OPS",
    "WEIGHT_BITS",
    "WEIGHT_BLOCK",
    "WEIGHT_PATTERNS",
    "Attention",
    "Conv2d",
    "Elementwise",
    "MatMul",
    "ModelWorkloads",
    "Pool",
    "Workload",
    "conv_transpose_workload",
    "conv_workload",
    "softmax_workload",
    "workload_from_dict",
]
