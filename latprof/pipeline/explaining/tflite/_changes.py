"""What may be slow and can be changed in a copy of the file: dead ops, moves there and back, and
activations that are ops of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from latprof.pipeline.explaining.tflite._candidate import TfliteCandidate
from latprof.pipeline.explaining.tflite._file import TfliteEdit, TfliteFile

__all__ = ["activations", "dead_ops", "round_trips"]

#: Ops that change something that outlives them.
_EFFECTS = {"ASSIGN_VARIABLE", "CALL_ONCE", "HASHTABLE_IMPORT", "WHILE", "IF"}
#: Ops that give each value by itself.
_UNARY = {
    "ABS", "ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "NEG", "RELU", "RELU6",
    "RSQRT", "SQRT", "SQUARE", "TANH",
}  # fmt: skip
#: ActivationFunctionType.
_FUSED = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
_BEFORE = {
    "ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D",
    "MUL", "SUB",
}  # fmt: skip


def dead_ops(file: TfliteFile) -> Iterator[TfliteCandidate]:
    needed = set(file.results)
    dead = []
    for op in reversed(range(len(file.ops))):
        if file.kinds[op] in _EFFECTS or needed & set(file.outputs(op)):
            needed |= set(file.inputs(op))
        else:
            dead.append(op)
    if dead:
        what = f"{len(dead)} ops are" if len(dead) > 1 else "an op is"
        ops = tuple(sorted(dead))
        yield TfliteCandidate(
            "dead-branch", f"{what} in the file, and no output depends on it", ops,
            "leave out what no output depends on", lambda edit: edit.remove(ops),
        )  # fmt: skip


def round_trips(file: TfliteFile) -> Iterator[TfliteCandidate]:
    """Transposes that undo each other, around ops that take any layout."""
    changes: list[tuple[int, Sequence[int], int]] = []
    for op, kind in enumerate(file.kinds):
        if kind != "TRANSPOSE" or (order := _order(file, op)) is None:
            continue
        between, last = [], file.only_reader(op)
        while last is not None and file.kinds[last] in _UNARY:
            between.append(last)
            last = file.only_reader(last)
        if last is None or file.kinds[last] != "TRANSPOSE":
            continue
        back = _order(file, last)
        made = file.outputs(last)[0]
        if back is None or [order[i] for i in back] != sorted(order):
            continue
        if made not in file.results or between:
            changes.append((op, between, last))
    if changes:
        ops = tuple(
            sorted({n for first, between, last in changes for n in (first, *between, last)})
        )
        yield TfliteCandidate(
            "transposes",
            f"values are moved to another layout and back, in {len(changes)} places"
            if len(changes) > 1 else "values are moved to another layout and back",
            ops, "leave both moves out", _without(file, changes),
        )  # fmt: skip


def _order(file: TfliteFile, op: int) -> list[int] | None:
    found = file.value(file.inputs(op)[1]) if len(file.inputs(op)) > 1 else None
    return None if found is None else [int(n) for n in found]


def _without(
    file: TfliteFile, changes: Sequence[tuple[int, Sequence[int], int]]
) -> Callable[[TfliteEdit], None]:
    def apply(edit: TfliteEdit) -> None:
        for first, between, last in changes:
            given, moved = file.inputs(first)[0], file.outputs(first)[0]
            made = file.outputs(last)[0]
            edit.remove([first, last])
            edit.reads_instead(moved, given)
            for op in between:
                edit.set_shape(file.outputs(op)[0], file.shape(given))
            if between:  # what the last of them makes has the name that others read
                edit.ops[between[-1]].outputs = [made]
            else:
                edit.reads_instead(made, given)

    return apply


def activations(file: TfliteFile, outside: set[int]) -> Iterator[TfliteCandidate]:
    """Activations that run by themselves, after an op that can compute them as it writes."""
    ops = [
        op
        for op in sorted(outside)
        if file.kinds[op] in _FUSED and (before := file.source(op)) is not None
        and file.kinds[before] in _BEFORE and file.only_reader(before) == op
        and getattr(file.ops[before].builtinOptions, "fusedActivationFunction", None) == 0
    ]  # fmt: skip
    if not ops:
        return

    def apply(edit: TfliteEdit) -> None:
        for op in ops:
            before = file.source(op)
            assert before is not None
            edit.ops[before].builtinOptions.fusedActivationFunction = _FUSED[file.kinds[op]]
            edit.ops[before].outputs = np.asarray(file.outputs(op), np.int32)
        edit.remove(ops)

    names = sorted({file.kinds[op] for op in ops})
    what = f"{len(ops)} ops {' and '.join(names)} run" if len(ops) > 1 else f"{names[0]} runs"
    yield TfliteCandidate(
        "activation", f"{what} outside of the delegate, after an op that has it built in",
        tuple(sorted({*ops, *(n for op in ops if (n := file.source(op)) is not None)})),
        "fuse it into the op before it", apply,
    )  # fmt: skip
