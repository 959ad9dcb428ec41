"""Writes ONNX models of a product whose weights have 2, 4 or 8 bits.

Inputs and outputs are float32. Of 2 and 4 bits: ONNX Runtime's MatMulNBits. A value is
(code - zero) * scale, with a scale and a zero for each 32 neighboring inputs of an output. Of 8
bits: its DynamicQuantizeMatMul, which has codes about zero and a scale per output.
"""

from __future__ import annotations

import numpy as np

from latprof.devices.agent.runtimes._base import Refused, fill, pack_codes
from latprof.devices.agent.runtimes._onnx_model import OnnxGraph
from latprof.workloads import WEIGHT_BLOCK, MatMul

__all__ = ["ACCURACY_LEVEL", "FEW_BITS_OP", "write_onnx_few_bits"]

#: ONNX Runtime may round each 32 inputs to int8, with a scale of their own. Where it may not (level
#: 1) it is slower than float32 products but for one row and 4 bits; 2 and 8 bits take 25 times as
#: long (1.32 on x86).
ACCURACY_LEVEL = 4
#: What is measured, for a table's provenance.
FEW_BITS_OP = (
    f"2 and 4: MatMulNBits, blocks of {WEIGHT_BLOCK}, zero points, accuracy_level "
    f"{ACCURACY_LEVEL}; 8: DynamicQuantizeMatMul, a scale per output"
)


def write_onnx_few_bits(workload: MatMul, accuracy_level: int = ACCURACY_LEVEL) -> bytes:
    """A one-op model of a float32 product with weights of few bits.

    Args:
        accuracy_level: of 2 and 4 bits.

    Raises:
        Refused: its weights are of its dtype.
    """
    if not workload.weight_bits:
        raise Refused(f"ONNX {workload.label}: expected weights of 2, 4 or 8 bits here")
    graph = OnnxGraph("float32")
    rows = (workload.m,) if workload.batch == 1 else (workload.batch, workload.m)
    x = graph.input("x", (*rows, workload.k))
    out = (
        _by_output(graph, x, workload)
        if workload.weight_bits == 8
        else _in_blocks(graph, x, workload, accuracy_level)
    )
    graph.output(out, (*rows, workload.n))
    return graph.serialize()


def _by_output(graph: OnnxGraph, x: str, workload: MatMul) -> str:
    steps = np.rint(fill((workload.k, workload.n)) * 64).clip(-127, 127)
    scales = np.abs(fill((workload.n,), 1)) + np.float32(0.5)
    weights = [
        graph.array(steps.astype(np.int8)),
        graph.array((scales / np.float32(128 * workload.k**0.5)).astype(np.float32)),
    ]
    return graph.node(
        "DynamicQuantizeMatMul",
        [x, *weights, "", graph.constant((workload.n,))],
        domain="com.microsoft",
    )


def _in_blocks(graph: OnnxGraph, x: str, workload: MatMul, accuracy_level: int) -> str:
    bits = workload.weight_bits
    blocks = -(-workload.k // WEIGHT_BLOCK)
    middle = 2 ** (bits - 1)
    steps = np.rint(fill((workload.n, blocks, WEIGHT_BLOCK)) * (middle / 2)) + middle
    codes = steps.clip(0, 2**bits - 1).astype(np.uint8)
    scales = np.abs(fill((workload.n * blocks,), 1)) + np.float32(0.5)
    zeros = np.full((workload.n, blocks), middle, np.uint8)
    weights = [
        graph.array(pack_codes(codes, bits)),
        graph.array((scales / np.float32(middle * workload.k**0.5)).astype(np.float32)),
        graph.array(pack_codes(zeros, bits).ravel()),
    ]
    return graph.node(
        "MatMulNBits",
        [x, *weights, "", graph.constant((workload.n,))],
        domain="com.microsoft",
        K=workload.k,
        N=workload.n,
        bits=bits,
        block_size=WEIGHT_BLOCK,
        accuracy_level=accuracy_level,
    )
