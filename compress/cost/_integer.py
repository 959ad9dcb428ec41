"""Which ops of a network an int8 file computes in integers, and which it does without."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from latprof.compress.export import CHOICES
from latprof.compress.space import Space
from latprof.errors import UsageError
from latprof.workloads import Conv2d, Elementwise, MatMul, Pool, Workload

if TYPE_CHECKING:
    from latprof.surrogate import Surrogate

__all__ = ["as_int8"]

#: Besides contractions, what ONNX Runtime has integer kernels for, and what XNNPACK has none for.
_ONNX = ("add", "avg", "max", "mul", "scale", "sigmoid")
_NOT_TFLITE = (
    "embedding", "hard_swish", "layer_norm", "mean", "neg", "relu", "relu6", "rsqrt", "square",
)  # fmt: skip
#: Where the rounding of what comes before them clips.
_CLIPS = ("relu", "relu6")


def as_int8(space: Space, choice: str, surrogate: Surrogate) -> Space:
    """The space with its ops as an int8 file for the surrogate's target has them.

    Args:
        choice: what is int8, as ``Int8Export.choice``.

    Raises:
        UsageError: no such choice, or a table without a row of int8.
    """
    if choice not in CHOICES:
        raise UsageError(f"int8 is {choice!r}; expected one of {', '.join(CHOICES)}")
    if surrogate.target.precision == "int8":
        return space  # what a table calls float32 there was timed in int8
    if not any(label.endswith(".int8") for label in surrogate.labels):
        raise UsageError(
            f"int8 is {choice!r} and the table of {surrogate.target.device} has no int8 op; "
            "profile it with an int8 file: latprof profile ... --for FILE"
        )
    tflite = surrogate.target.runtime == "tflite"
    forms: list[Workload | None] = []
    for op in space.graph.ops:
        before = next((w for w in reversed(forms) if w is not None), None)
        clips = isinstance(op.workload, Elementwise) and op.workload.op in _CLIPS
        if clips and before is not None and before.dtype == "int8":
            forms.append(None if choice == "all" or tflite else op.workload)
        else:
            forms.append(_form(op.workload, choice, tflite))
    ops = [
        dataclasses.replace(op, workload=w)
        for op, w in zip(space.graph.ops, forms, strict=True)
        if w is not None
    ]
    left = [n for n, w in enumerate(forms) if w is not None]
    place = {n: k for k, n in enumerate(left)}
    options = tuple(
        dataclasses.replace(
            o, layer=dataclasses.replace(o.layer, ops=tuple(place[n] for n in o.layer.ops))
        )
        for o in space.options
    )
    graph = dataclasses.replace(space.graph, ops=tuple(ops))
    return dataclasses.replace(space, graph=graph, options=options)


def _form(workload: Workload, choice: str, tflite: bool) -> Workload:
    if isinstance(workload, (Conv2d, MatMul)):
        depthwise = isinstance(workload, Conv2d) and (
            workload.depthwise or (tflite and workload.c_in == 1)  # so TFLite's converters write it
        )
        return workload if depthwise and choice == "dense" else workload.with_dtype("int8")
    assert isinstance(workload, (Elementwise, Pool))
    if workload.op == "hard_swish" and not tflite:
        # The quantizer takes it apart; the product that is left is small beside its float part.
        return dataclasses.replace(workload, op="hard_sigmoid")
    kernel = workload.op not in _NOT_TFLITE if tflite else workload.op in _ONNX
    return workload.with_dtype("int8") if choice == "all" and kernel else workload
