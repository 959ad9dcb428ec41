"""The ops that LiteRT ran, each with the ops of the file that it does the work of."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from latprof.devices import OpTime
from latprof.pipeline.explaining._ops import RunOp
from latprof.pipeline.explaining.tflite._file import TfliteFile
from latprof.workloads import Workload

__all__ = ["run_tflite_ops"]

#: What a delegate calls an op begins so (XNNPACK's names, in lower case), and may do the work of
#: these ops of the file.
_KINDS = (
    ("fully connected", ("FULLY_CONNECTED", "CONV_2D", "BATCH_MATMUL")),
    ("convolution", ("CONV_2D", "DEPTHWISE_CONV_2D")),
    ("deconvolution", ("TRANSPOSE_CONV",)),
    ("batch matrix multiply", ("BATCH_MATMUL",)),
    ("clamp", ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")),
    ("sigmoid", ("LOGISTIC",)),
    ("hardswish", ("HARD_SWISH",)),
    ("leaky relu", ("LEAKY_RELU",)),
    ("softmax", ("SOFTMAX",)),
    ("average pooling", ("AVERAGE_POOL_2D", "MEAN")),
    ("max pooling", ("MAX_POOL_2D",)),
    ("global average pooling", ("MEAN", "AVERAGE_POOL_2D")),
    ("mean", ("MEAN",)),
    ("sum", ("SUM", "MEAN")),
    ("add", ("ADD",)),
    ("multiply", ("MUL",)),
    ("subtract", ("SUB",)),
    ("divide", ("DIV",)),
    ("squared difference", ("SQUARED_DIFFERENCE",)),
    ("reciprocal square root", ("RSQRT",)),
    ("square root", ("SQRT",)),
    ("constant pad", ("PAD", "PADV2")),
    ("concatenate", ("CONCATENATION",)),
    ("resize bilinear", ("RESIZE_BILINEAR",)),
    ("convert", ("QUANTIZE", "DEQUANTIZE", "CAST")),
    ("copy", ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")),
    ("slice", ("SLICE", "STRIDED_SLICE", "SPLIT")),
    ("split", ("SPLIT",)),
)
#: A number at the end of a name, of an op that no delegate took.
_NUMBER = re.compile(r":(\d+)$")


def run_tflite_ops(
    file: TfliteFile,
    ran: Sequence[OpTime],
    seconds: Sequence[float],
    workloads: Sequence[Workload | None],
) -> list[RunOp]:
    """Each op of a profile, with its ops of the file: by number where the runtime says it, and in
    their order by kind where a delegate runs them. What a delegate fused into an op counts to it.

    Args:
        workloads: of each op of the file.
    """
    owners: list[list[int]] = [[] for _ in ran]
    for i, op in enumerate(ran):
        if op.provider == "builtin" and (number := _number(op, len(file.ops))) is not None:
            owners[i].append(number)
    inside = [i for i, op in enumerate(ran) if op.provider != "builtin"]
    outside = {number for found in owners for number in found}
    rest = [number for number in range(len(file.ops)) if number not in outside]
    parts = [i for i in inside if ran[i].op.startswith("TfLite")]
    if parts:
        _give_parts(file, ran, parts, rest, owners)
        rest = []
    matched = _align([ran[i].op for i in inside], [file.kinds[number] for number in rest])
    last: int | None = None
    for number, which in zip(rest, matched, strict=True):
        last = inside[which] if which is not None else last
        if last is not None:
            owners[last].append(number)
    maker = {t: i for i, found in enumerate(owners) for n in found for t in file.outputs(n)}
    made = []
    for i, (op, took_s, found) in enumerate(zip(ran, seconds, owners, strict=True)):
        works = [w for number in found if (w := workloads[number]) is not None]
        reads = {maker[t] for number in found for t in file.inputs(number) if t in maker} - {i}
        made.append(
            RunOp(
                op.name, op.op, took_s, tuple(file.name(number) for number in found),
                max(works, key=lambda w: w.macs) if works else None, tuple(sorted(reads)),
            )
        )  # fmt: skip
    return made


def _give_parts(
    file: TfliteFile,
    ran: Sequence[OpTime],
    parts: Sequence[int],
    rest: Sequence[int],
    owners: list[list[int]],
) -> None:
    """To each part of the graph that a delegate runs in one go, the ops of the file up to those
    that make its results."""
    numbers = {file.name(number): number for number in range(len(file.ops))}
    left = list(rest)
    for i in parts:
        made = ran[i].name.partition("]:")[0].removeprefix("[").split(", ")
        last = max((numbers[name] for name in made if name in numbers), default=-1)
        owners[i] = left if i == parts[-1] else [n for n in left if n <= last]
        left = [n for n in left if n not in owners[i]]


def _number(op: OpTime, count: int) -> int | None:
    found = _NUMBER.search(op.name)
    return int(found[1]) if found and int(found[1]) < count else None


def _align(ran: Sequence[str], kinds: Sequence[str]) -> list[int | None]:
    """For each op of the file, the number of the one that ran: both in their order, as many as
    can be."""
    rows, columns = len(kinds), len(ran)
    best = np.zeros((rows + 1, columns + 1), np.int64)
    fits = np.array([[_fits(name, kind) for name in ran] for kind in kinds], bool)
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            skip = max(best[i + 1, j], best[i, j + 1])
            best[i, j] = max(skip, best[i + 1, j + 1] + 1) if fits[i, j] else skip
    found: list[int | None] = [None] * rows
    i = j = 0
    while i < rows and j < columns:
        if fits[i, j] and best[i, j] == best[i + 1, j + 1] + 1:
            found[i] = j
            i, j = i + 1, j + 1
        elif best[i + 1, j] >= best[i, j + 1]:
            i += 1
        else:
            j += 1
    return found


def _fits(ran: str, kind: str) -> bool:
    name = ran.lower()
    for beginning, kinds in _KINDS:
        if name.startswith(beginning):
            # Depthwise kernels are known by their name; the others are for dense ones.
            if "dwconv" in name:
                return kind == "DEPTHWISE_CONV_2D"
            return kind in kinds
    return re.sub("[^a-z]", "", name.partition("(")[0]) == re.sub("[^a-z]", "", kind.lower())
