"""Ops that no delegate took, float ops between quantized ones, and transposes that must stay: what
they take is known, what would be in their place is not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

from latprof.pipeline.explaining.tflite._candidate import TfliteCandidate
from latprof.pipeline.explaining.tflite._file import TfliteFile

__all__ = ["float_islands", "left_transposes", "outside_delegate"]


def outside_delegate(
    file: TfliteFile, outside: Collection[int], delegate: str
) -> Iterator[TfliteCandidate]:
    """One for each kind of op.

    Args:
        outside: ops that ran, and not in the delegate.
    """
    kinds: dict[str, list[int]] = defaultdict(list)
    for op in sorted(outside):
        kinds[file.kinds[op]].append(op)
    for kind, ops in kinds.items():
        what = f"{len(ops)} {kind} ops run" if len(ops) > 1 else f"{kind} runs"
        types = sorted({"floats" if file.is_float(t) else "integers"
                        for op in ops for t in file.outputs(op)})  # fmt: skip
        yield TfliteCandidate(
            "outside-delegate",
            f"{what} outside of {delegate}, on {' and '.join(types)}",
            tuple(ops),
            f"use an op or a type that {delegate} takes",
        )


def float_islands(file: TfliteFile) -> Iterator[TfliteCandidate]:
    """From DEQUANTIZE to QUANTIZE, ops of floats between them."""
    for op, kind in enumerate(file.kinds):
        if kind != "DEQUANTIZE" or file.source(op) is None:
            continue
        ops, last = [op], file.only_reader(op)
        while last is not None and file.kinds[last] != "QUANTIZE":
            ops.append(last)
            last = file.only_reader(last)
        if last is None or len(ops) < 2:
            continue
        kinds = ", ".join(file.kinds[n] for n in ops[1:5])
        runs = "runs" if len(ops) == 2 else "run"
        yield TfliteCandidate(
            "float-island",
            f"{kinds} {runs} in floats between quantized values",
            (*ops, last),
            "quantize their weights and what they make",
            keeps=False,
        )


def left_transposes(file: TfliteFile) -> Iterator[TfliteCandidate]:
    ops = [op for op, kind in enumerate(file.kinds) if kind == "TRANSPOSE"]
    if ops:
        times = f"{len(ops)} times" if len(ops) > 1 else "once"
        yield TfliteCandidate(
            "transposes",
            f"values are moved to another layout {times}",
            tuple(ops),
            "export with channels last, which is LiteRT's own layout",
        )
