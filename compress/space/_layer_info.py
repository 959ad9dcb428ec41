"""What the layers of a network are, for people and for functions that choose among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from latprof.compress.graph import Graph, Group
from latprof.compress.space._residual import lies_within, residual_blocks
from latprof.compress.trace import trace
from latprof.vocabulary import format_s
from latprof.workloads import Conv2d, MatMul, Workload

if TYPE_CHECKING:
    from latprof.surrogate import Surrogate

__all__ = ["LAYER_COLUMNS", "LayerInfo", "Layers", "layers", "layers_of"]

#: What stands above ``Layers.rows()``.
LAYER_COLUMNS = ("layer", "op", "channels", "latency", "share", "within", "reads", "writes")


@dataclass(frozen=True)
class LayerInfo:
    """One module with weights that its inputs are multiplied by.

    Args:
        path: of the module.
        kind: ``conv``, ``depthwise``, ``grouped`` (other grouped convolutions) or ``linear``.
        kernel, stride: of a convolution; 1 of others.
        channels_in, channels_out: of the first of its ops, and of the last.
        macs: multiply-accumulates, over all of its ops.
        latency_s: predicted seconds of its ops, each alone; nan without a surrogate, which no
            comparison holds for.
        share: of the sum over all ops of the network, other ones included; nan likewise.
        residual_block: path of the residual block that it lies in, which ``Depth`` may drop; empty
            outside of them.
        shortcut: it is alone on one side of an addition, beside two layers or more: a convolution
            that matches a residual block's input to its output.
        reads, writes: names of the channel groups that its inputs and its outputs are in; the same
            for a depthwise convolution.
        workloads: its ops at full size, in the order in which they run.
    """

    path: str
    kind: str
    kernel: int
    stride: int
    channels_in: int
    channels_out: int
    macs: int
    latency_s: float
    share: float
    residual_block: str
    shortcut: bool
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    workloads: tuple[Workload, ...]

    @property
    def workload(self) -> Workload:
        """The first of its ops."""
        return self.workloads[0]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the workloads; a latency that is not known is None."""
        known = not math.isnan(self.latency_s)
        return {
            "path": self.path,
            "kind": self.kind,
            "kernel": self.kernel,
            "stride": self.stride,
            "channels_in": self.channels_in,
            "channels_out": self.channels_out,
            "macs": self.macs,
            "latency_s": self.latency_s if known else None,
            "share": self.share if known else None,
            "residual_block": self.residual_block,
            "shortcut": self.shortcut,
            "reads": list(self.reads),
            "writes": list(self.writes),
        }


class Layers(tuple[LayerInfo, ...]):
    """The layers of a network, in the order in which they first run; ``print`` shows a table."""

    __slots__ = ()

    def rows(self) -> list[list[str]]:
        """One row of text per layer, under ``LAYER_COLUMNS``."""
        return [
            [
                layer.path,
                _op_text(layer),
                f"{layer.channels_in} to {layer.channels_out}",
                "" if math.isnan(layer.latency_s) else format_s(layer.latency_s),
                "" if math.isnan(layer.share) else f"{layer.share:.1%}",
                "shortcut" if layer.shortcut else layer.residual_block,
                ", ".join(layer.reads),
                ", ".join(layer.writes),
            ]
            for layer in self
        ]

    def __str__(self) -> str:
        lines = [list(LAYER_COLUMNS), *self.rows()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


def _op_text(layer: LayerInfo) -> str:
    """``conv 3x3 /2``: kernel and stride where there is one."""
    if layer.kind == "linear":
        return layer.kind
    stride = f" /{layer.stride}" if layer.stride > 1 else ""
    return f"{layer.kind} {layer.kernel}x{layer.kernel}{stride}"


def layers(model: nn.Module, example_inputs: Any, surrogate: Surrogate | None = None) -> Layers:
    """The layers of a model: shapes, latency, and what they are connected to.

    Args:
        model: any traceable module; it is left as it was.
        example_inputs: what its forward takes, at the batch size of deployment.
        surrogate: of the target, from ``latprof.fit``; None: latencies are nan.

    Raises:
        TraceError: the model cannot be traced.

    Example:
        >>> surrogate = latprof.fit("local.parquet")   # doctest: +SKIP
        >>> found = latprof.layers(model, example_inputs, surrogate)  # doctest: +SKIP
        >>> print(found)                               # doctest: +SKIP
        >>> [la.path for la in found if la.share > 0.1]  # doctest: +SKIP
    """
    return layers_of(model, trace(model, example_inputs), surrogate)


def layers_of(
    model: nn.Module,
    graph: Graph,
    surrogate: Surrogate | None = None,
    residuals: Sequence[str] | None = None,
) -> Layers:
    """The same of a traced model.

    Args:
        residuals: paths of the residual blocks, where they are known.
    """
    latency_s = [math.nan] * len(graph.ops)
    if surrogate is not None:
        latency_s = surrogate.predict(graph.workloads()).latency_s.tolist()
    residuals = residual_blocks(model, graph) if residuals is None else residuals
    of_module: dict[str, list[int]] = {}
    for n, op in enumerate(graph.ops):
        if isinstance(op.workload, Conv2d) or (
            isinstance(op.workload, MatMul) and op.workload.weights
        ):
            of_module.setdefault(op.module, []).append(n)
    reads, writes = _groups(graph.groups, "readers"), _groups(graph.groups, "writers")
    whole_s = sum(latency_s)
    found = []
    for path, ops in of_module.items():
        workloads = tuple(graph.ops[n].workload for n in ops)
        first = workloads[0]
        layer_s = sum(latency_s[n] for n in ops)
        found.append(
            LayerInfo(
                path=path,
                kind=_kind(first),
                kernel=first.kernel if isinstance(first, Conv2d) else 1,
                stride=first.stride if isinstance(first, Conv2d) else 1,
                channels_in=first.channels[0],
                channels_out=workloads[-1].channels[1],
                macs=sum(w.macs for w in workloads),
                latency_s=layer_s,
                share=layer_s / whole_s,
                residual_block=next((r for r in residuals if lies_within(path, r)), ""),
                shortcut=path in graph.shortcuts,
                reads=reads.get(path, writes.get(path, ()) if first.tied else ()),
                writes=writes.get(path, ()),
                workloads=workloads,
            )
        )
    return Layers(found)


def _kind(workload: Workload) -> str:
    if not isinstance(workload, Conv2d):
        return "linear"
    if workload.depthwise:
        return "depthwise"
    return "grouped" if workload.groups > 1 else "conv"


def _groups(groups: Sequence[Group], side: str) -> Mapping[str, tuple[str, ...]]:
    """{module: names of the groups that its own parameters read or write}"""
    found: dict[str, dict[str, None]] = {}
    for group in groups:
        for part in getattr(group, side):
            owner = part.name.rpartition(".")[0].partition(".parametrizations.")[0]
            found.setdefault(owner, {})[group.name] = None
    return {owner: tuple(names) for owner, names in found.items()}
