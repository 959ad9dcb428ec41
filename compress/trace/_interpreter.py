"""Runs an exported graph on Values in the place of tensors."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from latprof.compress.trace._memory import metas_of
from latprof.compress.trace._program import mutated
from latprof.compress.trace._shortcuts import module_of
from latprof.compress.trace._tracer import RULES, Tracer, tensors_in, unknown
from latprof.compress.trace._values import Call, Value, unlabelled
from latprof.compress.trace.ops._attention import flex_attention
from latprof.compress.trace.ops._pointwise import pointwise_rule
from latprof.errors import TraceError
from latprof.workloads import DTYPE_BYTES

__all__ = ["Interpreter"]

#: Ops that check something, and compute nothing.
_CHECKS = ("_assert", "sym_constrain", "_assert_async", "_assert_scalar")

#: Higher-order ops that only set a mode, or mark a region: what they are given is run as it is.
_REGIONS = (
    "wrap_with_set_grad_enabled", "wrap_with_autocast", "tag_activation_checkpoint", "wrap",
)  # fmt: skip

#: What may be written over its input though it is not elementwise: one factor a channel.
_IN_PLACE = ("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm")

#: Larger buffers that are computed with count as constants.
_MAX_BUFFER = 1 << 16


class Interpreter:
    """Interprets exported graphs with Values."""

    def __init__(self, tracer: Tracer, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tracer = tracer
        self.names = {id(t): name for name, t in tensors.items()}

    def outputs(self, program: torch.export.ExportedProgram, model: nn.Module) -> list[Value]:
        """Values of the model's outputs."""
        state: dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
        state |= dict(model.named_buffers(remove_duplicate=False))
        specs = {s.arg.name: s for s in program.graph_signature.input_specs}
        inputs: list[Any] = []
        for node in program.graph.nodes:
            if node.op != "placeholder":
                continue
            spec = specs[node.name]
            if spec.kind == InputKind.USER_INPUT:
                inputs.append(given := _input(node))
                if isinstance(given, Value):
                    self.tracer.held.add_input(given, node.meta["val"])
            elif spec.target in state:
                inputs.append(self.parameter(state[spec.target]))
            else:
                constant = program.constants.get(spec.target)
                inputs.append(
                    _constant(constant) if isinstance(constant, torch.Tensor) else constant
                )
        return tensors_in(self.graph(program.graph_module, inputs))

    def parameter(self, tensor: torch.Tensor) -> Value:
        name = self.names[id(tensor)]
        shape = tuple(tensor.shape)
        floating = tensor.is_floating_point()
        return Value(
            shape,
            unlabelled(len(shape)),
            floating,
            name if floating else None,
            perm=tuple(range(len(shape))),
            const=None if isinstance(tensor, nn.Parameter) else tensor.detach(),
            fixed=True,
            origins=frozenset({name}),
        )

    def graph(self, module: fx.GraphModule, inputs: Sequence[Any]) -> Any:
        """Run one (sub)graph; its outputs, nested as it nests them."""
        env: dict[fx.Node, Any] = {}
        same: dict[fx.Node, list[fx.Node]] = {}  # nodes that are one tensor, changed in place
        given = iter(inputs)
        for node in module.graph.nodes:
            if node.op == "placeholder":
                env[node] = next(given)
            elif node.op == "get_attr":
                env[node] = _attribute(module, str(node.target))
            elif node.op == "output":
                return fx.node.map_arg(node.args[0], lambda n: env[n])
            else:
                args = fx.node.map_arg(node.args, lambda n: env[n])
                kwargs = fx.node.map_arg(node.kwargs, lambda n: env[n])
                env[node] = made = self.call(node, args, kwargs)
                if isinstance(made, Value):
                    made.users = len(node.users)
                if (changed := mutated(node)) is not None:
                    same[node] = same.setdefault(changed, [changed])
                    same[node].append(node)
                    env.update(dict.fromkeys(same[node], made))
        return []

    def call(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        target = node.target
        if target is operator.getitem:
            return args[0][args[1]]
        if isinstance(target, torch._ops.HigherOrderOperator):
            return self.higher_order(node, args)
        if not isinstance(target, torch._ops.OpOverload):
            arithmetic: Any = target  # on sizes
            return arithmetic(*args, **kwargs)
        name = target._schema.name.split("::")[-1]
        if name.startswith(_CHECKS):
            return None
        bound = _bind(target, args, kwargs)
        values = tensors_in(bound.values())
        constant = all(v.const is not None for v in values) and (values or _creates(node))
        shapes, floating = _meta(node)
        call = Call(
            name.removesuffix("_") or name,
            target,
            bound,
            shapes,
            floating,
            module_of(node),
            _dtype(node),
        )
        rule = RULES.get(call.name) or RULES.get(name) or pointwise_rule(call) or unknown
        if constant and (rule is unknown or not any(_is_followed(v) for v in values)):
            return _fold(target, args, kwargs)
        self.tracer.fixed = fixed = bool(values) and all(v.fixed for v in values)
        made = rule(self.tracer, call)
        several = made if isinstance(made, list) else [made]
        if fixed:
            origins = frozenset().union(*(v.origins for v in values))
            for value in several:
                value.fixed, value.origins = True, origins
        if constant:
            for value, folded in zip(
                several, tensors_in([_fold(target, args, kwargs)]), strict=True
            ):
                value.const = folded.const
        elementwise = pointwise_rule(call) is not None or call.name in _IN_PLACE
        self.tracer.held.add(call.module, values, several, metas_of(node), elementwise=elementwise)
        returns = target._schema.returns
        if len(returns) == 1 and isinstance(returns[0].type, torch.TensorType):
            return several[0]
        return several

    def higher_order(self, node: fx.Node, args: Any) -> Any:
        """Regions that only set a mode are run through; what others are given stays whole."""
        name = str(node.target)
        if name in _REGIONS:
            for i, arg in enumerate(args):
                if isinstance(arg, fx.GraphModule):
                    return self.graph(arg, args[i + 1 :])
        shapes, floating = _meta(node)
        call = Call(
            name,
            node.target,
            {str(i): arg for i, arg in enumerate(args)},
            shapes,
            floating,
            module_of(node),
            _dtype(node),
        )
        self.tracer.fixed = False
        if name == "flex_attention":
            flex_attention(self.tracer, call)
        else:
            self.tracer.emit_unmeasured(call, opaque=True)
        values = tensors_in(args)
        for value in values:
            self.tracer.stay(
                value, f"{call.where} is an op that channels cannot be followed through"
            )
        made = [Value(s, unlabelled(len(s)), f) for s, f in zip(shapes, floating, strict=True)]
        self.tracer.held.add(call.module, values, made, metas_of(node), elementwise=False)
        return made


def _is_followed(value: Value) -> bool:
    """Whether channels of the network may lie along this constant: it comes from a buffer."""
    if value.param is not None:
        return value.floating and value.const is not None and value.const.numel() <= _MAX_BUFFER
    return bool(value.labels.any())


def _bind(target: torch._ops.OpOverload, args: Any, kwargs: Any) -> dict[str, Any]:
    bound: dict[str, Any] = {}
    for i, argument in enumerate(target._schema.arguments):
        if i < len(args) and not argument.kwarg_only:
            bound[argument.name] = args[i]
        elif argument.name in kwargs:
            bound[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            bound[argument.name] = argument.default_value
    return bound


def _fold(target: torch._ops.OpOverload, args: Any, kwargs: Any) -> Any:
    """The value of a call that depends on nothing but constants."""
    plain = pytree.tree_map_only(Value, lambda v: v.const, (list(args), dict(kwargs)))
    made = target(*plain[0], **plain[1])
    return pytree.tree_map_only(torch.Tensor, _constant, made)


def _constant(tensor: torch.Tensor) -> Value:
    shape = tuple(tensor.shape)
    floating = tensor.is_floating_point()
    return Value(shape, unlabelled(len(shape)), floating, const=tensor.detach(), fixed=True)


def _creates(node: fx.Node) -> bool:
    """True for arange, full and the like: no inputs, and nothing random."""
    tags = getattr(node.target, "tags", ())
    return torch.Tag.nondeterministic_seeded not in tags


def _input(node: fx.Node) -> Value | Any:
    found = node.meta.get("val")
    if not isinstance(found, torch.Tensor):
        return found
    shape = tuple(found.shape)
    return Value(shape, unlabelled(len(shape)), found.is_floating_point(), source="input")


def _meta(node: fx.Node) -> tuple[tuple[tuple[int, ...], ...], tuple[bool, ...]]:
    """(shapes, which are floating) of the tensors that the call makes."""
    found = [t for t in pytree.tree_leaves(node.meta.get("val")) if isinstance(t, torch.Tensor)]
    if any(not isinstance(n, int) for t in found for n in t.shape):
        name = str(node.target).removeprefix("aten.").partition(".")[0]
        where = f" in {path}" if (path := module_of(node)) else ""
        raise TraceError(
            f"{name}{where} makes a tensor whose size depends on values in tensors; expected sizes "
            "that the inputs' shapes decide; trace a module that ends before it"
        )
    return tuple(tuple(t.shape) for t in found), tuple(t.is_floating_point() for t in found)


def _dtype(node: fx.Node) -> str:
    found = [t for t in pytree.tree_leaves(node.meta.get("val")) if isinstance(t, torch.Tensor)]
    names = [str(t.dtype).removeprefix("torch.") for t in found if t.is_floating_point()]
    return names[0] if names and names[0] in DTYPE_BYTES else "float32"


def _attribute(module: fx.GraphModule, target: str) -> Any:
    found: Any = module
    for part in target.split("."):
        found = getattr(found, part)
    return _constant(found) if isinstance(found, torch.Tensor) else found
