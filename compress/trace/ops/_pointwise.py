"""Ops that work element by element, on one tensor or several broadcast together."""

from __future__ import annotations

import math

import torch

from latprof.compress.trace._tracer import Rule, Tracer, rule, tensors_in
from latprof.compress.trace._values import Call, Value

__all__ = ["pointwise_rule"]

#: Ops that a runtime does not run, or folds away.
_FREE = frozenset({
    "alias", "clone", "contiguous", "copy", "detach", "dropout", "feature_dropout", "lift_fresh",
    "lift_fresh_copy", "ones_like", "zeros_like", "full_like", "empty_like", "to", "type_as",
    "_to_copy", "expand_as", "zero", "_assert_tensor_metadata", "identity", "rand_like",
    "randn_like", "alpha_dropout", "real",
})  # fmt: skip

_COPIES = frozenset({
    "alias", "clone", "contiguous", "detach", "dropout", "lift_fresh", "lift_fresh_copy", "to",
    "_to_copy", "identity",
})  # fmt: skip
_BINARY = {"add": "add", "sub": "add", "rsub": "add", "mul": "mul", "div": "mul"}
_UNARY = {
    "gelu": "gelu", "hardsigmoid": "hard_sigmoid", "hardswish": "hard_swish", "relu": "relu",
    "relu6": "relu6", "hardtanh": "relu6", "sigmoid": "sigmoid", "silu": "silu", "tanh": "tanh",
    "log_sigmoid": "sigmoid", "logsigmoid": "sigmoid", "neg": "neg", "rsqrt": "rsqrt",
    "square": "square",
}  # fmt: skip
#: Elementwise although torch does not tag them so.
_UNTAGGED = _FREE | set(_UNARY) | set(_BINARY) | {
    "tril", "triu", "masked_fill", "where", "celu", "softplus", "elu", "selu", "mish", "leaky_relu",
    "hardshrink", "softshrink", "threshold", "rrelu", "float_power", "clamp", "clip", "square",
    "nan_to_num", "softsign",
}  # fmt: skip


def pointwise_rule(call: Call) -> Rule | None:
    """The rule of an elementwise op, by torch's own tag."""
    tags = getattr(call.target, "tags", ())
    if torch.Tag.pointwise in tags or call.name in _UNTAGGED:
        return _pointwise
    return None


def _pointwise(tracer: Tracer, call: Call) -> Value:
    values = tensors_in(call.args.values())
    if len(values) == 1 and (scaled := _scaled(call, values[0])) is not None:
        return scaled
    if call.name in ("expand_as", "type_as", "copy"):
        values = values[1:] if call.name == "copy" else values[:1]
    made = tracer.value(call, tracer.meet(call, values))
    if call.name in _FREE or not made.floating:
        return made
    tracer.emit_map(call, _kind(call, values, made), made)
    return made


def _scaled(call: Call, x: Value) -> Value | None:
    """A parameter that is copied, cast or times a number is still that parameter."""
    if x.param is None or not (x.floating and call.floating[0]) or x.shape != call.shapes[0]:
        return None
    same = call.name in _COPIES or (
        call.name in ("mul", "div", "neg") and isinstance(call.get("self"), Value)
    )
    if not same:
        return None
    return Value(x.shape, x.labels, True, x.param, x.perm, x.window, source=call.name)


def _kind(call: Call, values: list[Value], made: Value) -> str | None:
    if (op := _UNARY.get(call.name)) is not None:
        return op
    if call.name == "pow" and call.get("exponent") == 2:
        return "square"
    if (op := _BINARY.get(call.name)) is None:
        return None
    full = math.prod(made.shape)
    return op if sum(math.prod(v.shape) == full for v in values) > 1 or full == 1 else "scale"


@rule("prelu", "_prelu_kernel")
def _prelu(tracer: Tracer, call: Call) -> Value:
    x, weight = tensors_in(call.args.values())
    if weight.param is not None and weight.shape != (1,) and math.prod(weight.shape) > 1:
        along = 1 if x.ndim > 1 else 0
        tracer.follow(weight.param, 0, tracer.column(x, along, call.where))
    made = tracer.value(call, tracer.of(x))
    tracer.emit_map(call, "relu", made)
    return made
