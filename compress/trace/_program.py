"""From a module to the graph of its aten calls, without calls that change a tensor in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import fx, nn

from latprof.compress.graph import Inputs, culprit, first_line
from latprof.errors import TraceError

__all__ = ["export_program", "mutated"]

#: In eval mode these give back the very tensor that they are given, though no schema says so.
_SAME = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")


def export_program(model: nn.Module, inputs: Inputs) -> torch.export.ExportedProgram:
    """The model as torch.export sees it.

    Calls that work in place (``relu_``) are left as they are where they change a tensor that has
    no views: there the interpreter only has to give the new value to all who read it later. Other
    programs are made functional by torch, which takes longer than the export itself.

    Raises:
        TraceError: torch cannot export the model.
    """
    failures = []
    for strict in (False, True):
        try:
            with _no_stack_traces():
                program = torch.export.export(model, inputs.args, inputs.kwargs, strict=strict)
            if all(
                _is_simple(m.graph) for m in program.graph_module.modules() if hasattr(m, "graph")
            ):
                return program
            whole: torch.export.ExportedProgram = program.run_decompositions({})
            return whole
        except Exception as exc:  # noqa: BLE001  the exporter raises whatever it likes
            failures.append(exc)
    raise TraceError(_explain(model, failures[0])) from failures[0]


@contextmanager
def _no_stack_traces() -> Iterator[None]:
    """Nodes do not keep the lines of code that made them, which take a tenth of the time and which
    nobody reads. Versions of torch without this setting keep them."""
    config = getattr(fx, "config", None)
    before = getattr(config, "do_not_emit_stack_traces", None)
    if config is None or before is None:
        yield
        return
    config.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        config.do_not_emit_stack_traces = before


def mutated(node: fx.Node) -> fx.Node | None:
    """The tensor that this call changes in place, if it is one and is what the call returns."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or not target._schema.is_mutable:
        return None
    written = [
        node.args[i] if i < len(node.args) else node.kwargs.get(a.name)
        for i, a in enumerate(target._schema.arguments)
        if a.alias_info is not None and a.alias_info.is_write
    ]
    (one,) = written if len(written) == 1 else (None,)
    return one if isinstance(one, fx.Node) else None


def _is_simple(graph: fx.Graph) -> bool:
    """Whether every call in place changes a tensor that another call made and nothing views, and
    no call belongs to ``vmap``."""
    root: dict[fx.Node, fx.Node] = {}  # every node that is the same tensor as an earlier one
    viewed: set[fx.Node] = set()
    for node in graph.nodes:
        target = node.target
        if getattr(target, "__module__", "") == "torch._functorch.predispatch":
            return False
        if not isinstance(target, torch._ops.OpOverload):
            continue
        if target._schema.is_mutable:
            changed = mutated(node)
            if changed is None or len(target._schema.returns) != 1:
                return False
            first = root.get(changed, changed)
            made_by = first.target
            if first in viewed or not isinstance(made_by, torch._ops.OpOverload) or _views(made_by):
                return False
            root[node] = first
        elif _views(target):
            viewed |= {root.get(n, n) for n in node.all_input_nodes}
    return True


def _views(target: torch._ops.OpOverload) -> bool:
    """Whether what the op returns may be (a part of) what it is given."""
    if target._schema.name.split("::")[-1] in _SAME:
        return True
    return any(r.alias_info is not None for r in target._schema.returns)


def _explain(model: nn.Module, exc: Exception) -> str:
    name, where = type(model).__name__, culprit(model, exc)
    if "data-dependent" in str(exc).lower() or "DataDependent" in type(exc).__name__:
        return f"{name}: its forward depends on values in tensors{where}; make it static"
    return f"{name}: torch.export cannot trace it{where}: {first_line(exc)}"
