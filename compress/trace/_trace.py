"""From a model to its Graph: torch.export, then channels followed op by op."""

from __future__ import annotations

import fnmatch
import operator
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from latprof.compress.graph import (
    Graph,
    Inputs,
    culprit,
    evaluating,
    first_line,
    quiet,
    warn_of_training_only,
)
from latprof.compress.trace._grouping import build_groups
from latprof.compress.trace._probe import probe_groups
from latprof.compress.trace._tracer import RULES, Tracer, tensors_in, unknown
from latprof.compress.trace._values import Call, Value, unlabelled
from latprof.compress.trace.ops._pointwise import pointwise_rule
from latprof.errors import TraceError, UsageError

__all__ = ["trace"]

#: Ops that check something, and compute nothing.
_CHECKS = ("_assert", "sym_constrain", "_assert_async", "_assert_scalar")


def trace(
    model: nn.Module, example_inputs: Any, exclude: Sequence[str] = (), *, probe: bool = True
) -> Graph:
    """The model's ops, its channel groups, and which of them can shrink.

    Args:
        model: any module; it is traced in eval mode and left as it was.
        example_inputs: a tensor, a tuple of positional inputs, or a dict of named ones.
        exclude: patterns (``fnmatch``) of module or parameter names to leave whole.
        probe: try every group on a small copy, and leave whole those whose code cannot follow.

    Warns:
        TrainingOnlyWarning: the model has a head that runs in training mode alone.

    Raises:
        UsageError: a pattern that matches nothing.
        TraceError: the forward fails on these inputs, or depends on the data in them.
    """
    inputs = Inputs.of(example_inputs)
    tensors = _tensors(model)
    _prepare_exclude(model, exclude)
    with _tracing(model):
        inputs.check(model)
        exported = _export(model, inputs)
        tracer = Tracer(tensors, exclude)
        for value in _Run(tracer, tensors).exported(exported, model):
            tracer.pin(value, "output of the model")
    warn_of_training_only(model, inputs)
    tracer.settle()
    groups, ops = build_groups(tracer)
    graph = Graph(
        groups=groups,
        ops=ops,
        shapes={name: tuple(t.shape) for name, t in tensors.items()},
        inputs=inputs,
        name=type(model).__name__,
        unmeasured=Counter(sorted(op.name for op in tracer.ops if op.workload is None)),
        buffers=frozenset(n for n, t in tensors.items() if not isinstance(t, nn.Parameter)),
        grouped=dict(tracer.grouped),
    )
    return probe_groups(model, graph) if probe else graph


def _prepare_exclude(model: nn.Module, exclude: Sequence[str]) -> None:
    names = [name for name, _ in (*model.named_modules(), *model.named_parameters())]
    for pattern in exclude:
        if not fnmatch.filter(names, pattern):
            raise UsageError(
                f"exclude: {pattern!r} matches no module or parameter of {type(model).__name__}"
            )


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, tied ones under their first name."""
    found: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found.setdefault(id(tensor), (name, tensor))
    return dict(found.values())


@contextmanager
def _tracing(model: nn.Module) -> Iterator[None]:
    """Eval mode and no fused fast paths, as it was afterwards."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), quiet(), evaluating(model):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _export(model: nn.Module, inputs: Inputs) -> torch.export.ExportedProgram:
    failures = []
    for strict in (False, True):
        try:
            program = torch.export.export(model, inputs.args, inputs.kwargs, strict=strict)
            whole: torch.export.ExportedProgram = program.run_decompositions({})
            return whole
        except Exception as exc:  # noqa: BLE001  the exporter raises whatever it likes
            failures.append(exc)
    raise TraceError(_explain(model, failures[0])) from failures[0]


def _explain(model: nn.Module, exc: Exception) -> str:
    name, where = type(model).__name__, culprit(model, exc)
    if "data-dependent" in str(exc).lower() or "DataDependent" in type(exc).__name__:
        return f"{name}: its forward depends on values in tensors{where}; make it static"
    return f"{name}: torch.export cannot trace it{where}: {first_line(exc)}"


class _Run:
    """Interprets exported graphs with Values."""

    def __init__(self, tracer: Tracer, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tracer = tracer
        self.names = {id(t): name for name, t in tensors.items()}

    def exported(self, program: torch.export.ExportedProgram, model: nn.Module) -> list[Value]:
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
                inputs.append(_input(node))
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
        order = tuple(range(len(shape)))
        floating = tensor.is_floating_point()
        const = None if isinstance(tensor, nn.Parameter) else tensor.detach()
        return Value(
            shape, unlabelled(len(shape)), floating, name if floating else None, order, const
        )

    def graph(self, module: fx.GraphModule, inputs: Sequence[Any]) -> Any:
        """Run one (sub)graph; its outputs, nested as it nests them."""
        env: dict[fx.Node, Any] = {}
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
        if all(v.const is not None for v in values) and (values or _creates(node)):
            return _fold(target, args, kwargs)
        shapes, floating = _meta(node)
        call = Call(name.removesuffix("_") or name, target, bound, shapes, floating, _module(node))
        rule = RULES.get(call.name) or RULES.get(name) or pointwise_rule(call) or unknown
        made = rule(self.tracer, call)
        returns = target._schema.returns
        if len(returns) == 1 and isinstance(returns[0].type, torch.TensorType):
            return made[0] if isinstance(made, list) else made
        return made if isinstance(made, list) else [made]

    def higher_order(self, node: fx.Node, args: Any) -> Any:
        """Regions that only set a mode are run through; others are left alone."""
        for i, arg in enumerate(args):
            if isinstance(arg, fx.GraphModule):
                return self.graph(arg, args[i + 1 :])
        for value in tensors_in(args):
            self.tracer.pin(
                value, f"{node.target} is an op that channels cannot be followed through"
            )
        shapes, floating = _meta(node)
        return [Value(s, unlabelled(len(s)), f) for s, f in zip(shapes, floating, strict=True)]


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
    return Value(shape, unlabelled(len(shape)), tensor.is_floating_point(), const=tensor.detach())


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
    found = [t for t in pytree.tree_leaves(node.meta.get("val")) if isinstance(t, torch.Tensor)]
    return tuple(tuple(int(n) for n in t.shape) for t in found), tuple(
        t.is_floating_point() for t in found
    )


def _module(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(list(stack.values())))[0] if stack else ""
    return str(path)


def _attribute(module: fx.GraphModule, target: str) -> Any:
    found: Any = module
    for part in target.split("."):
        found = getattr(found, part)
    return _constant(found) if isinstance(found, torch.Tensor) else found
