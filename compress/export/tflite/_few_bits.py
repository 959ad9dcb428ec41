"""Linear layers of a TFLite file that multiply by the 4- or 8-bit codes of their weights.

XNNPACK and TFLite's own kernels round each row of inputs to int8 as they run and multiply integers.
A weight is stored so where it is codes about zero already, with a scale per output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from latprof.compress.export.tflite._codes import codes_of
from latprof.compress.export.tflite._file import TfliteFile
from latprof.workloads import MatMul

__all__ = ["multiply_codes"]

_LINEAR = "FULLY_CONNECTED"
#: The first version of it with a scale per output: older runtimes refuse the file.
_VERSION = 12
_LEAST, _MOST = 4, 8


def multiply_codes(path: Path, choose: Callable[[MatMul, Sequence[int]], int]) -> dict[str, int]:
    """Write the file again with such layers: {weight: bits}. Where there is none the file is left
    as it is.

    Args:
        path: of a .tflite file of floats; it is replaced.
        choose: see ``choose_width``; it is asked of layers whose weights are codes.
    """
    file = TfliteFile(path)
    stored = {}
    for number, kinds in file.matrices().items():
        if kinds == {_LINEAR} and (bits := _multiply(file, number, choose)):
            stored[file.name(number)] = bits
    if stored:
        file.op_code(_LINEAR, _VERSION)
        file.save()
    return stored


def _multiply(file: TfliteFile, number: int, choose: Callable[[MatMul, Sequence[int]], int]) -> int:
    """Bits that a weight is stored in now; 0: as it was."""
    codes = codes_of(file.weight(number))
    if codes is None or codes.dim != 0 or codes.zero.any():
        return 0
    n, k = codes.values.shape
    ops = [op for _, op in file.readers[number]]
    rows = max(int(np.prod(file.shape(int(op.inputs[0])))) // k for op in ops)
    ends = int(codes.values.min()), int(codes.values.max())
    widths = tuple(
        b for b in (_LEAST, _MOST) if -(2 ** (b - 1)) <= ends[0] and ends[1] < 2 ** (b - 1)
    )
    bits = choose(MatMul(m=rows, k=k, n=n), widths)
    if not bits:
        return 0
    scale = np.ascontiguousarray(np.broadcast_to(codes.scale, n))
    file.set_grid(number, replace(codes, scale=scale, zero=np.zeros(n, np.int64)))
    if bits == _LEAST:
        file.set_halves(number, codes.values)
    else:
        file.set_values(number, codes.values)
    for op in ops:
        op.builtinOptions.asymmetricQuantizeInputs = True
    return bits
