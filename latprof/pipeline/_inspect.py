"""``inspect``: a model's ops and channel groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from latprof.surrogate import fit, fit_file
from latprof.tables import LatencyTable
from latprof.workloads import Workload

if TYPE_CHECKING:
    from latprof.compress import Graph, Layers
    from latprof.compress.space import Unreached

__all__ = ["Inspection", "inspect"]


@dataclass(frozen=True)
class Inspection:
    """What ``inspect`` found.

    Args:
        model: MODEL string.
        workloads: every op that has one, in the order in which they run.
        graph: channel groups; None for a file, whose channels are not followed.
        residual_blocks: modules that Depth may drop.
        latencies_s: of each workload alone, seconds; empty without a table.
        warnings: of reading the file and the table, one line each.
        layers: as ``latprof.layers`` has them; None for a file.
        unreached: layers that LowRank, Sparse or Quantize leave as they are, and why.
    """

    model: str
    workloads: tuple[Workload, ...]
    graph: Graph | None = None
    residual_blocks: tuple[str, ...] = ()
    latencies_s: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()
    layers: Layers | None = None
    unreached: tuple[Unreached, ...] = ()

    @property
    def macs(self) -> int:
        return sum(w.macs for w in self.workloads)

    @property
    def activation_bytes(self) -> int:
        return sum(w.activation_bytes for w in self.workloads)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        ops: list[dict[str, Any]] = [
            {"workload": w.to_dict(), "macs": w.macs} for w in self.workloads
        ]
        for op, latency_s in zip(ops, self.latencies_s, strict=False):
            op["latency_s"] = latency_s
        figures: dict[str, Any] = {
            "model": self.model,
            "macs": self.macs,
            "activation_bytes": self.activation_bytes,
            "ops": ops,
            "residual_blocks": list(self.residual_blocks),
            "unreached": [vars(each) for each in self.unreached],
        }
        if self.latencies_s:
            figures["latency_s"] = sum(self.latencies_s)
        if self.layers is not None:
            figures["layers"] = [layer.to_dict() for layer in self.layers]
        if self.graph is not None:
            figures |= {
                "class": self.graph.name,
                "params": self.graph.stats().params,
                "unmeasured": dict(self.graph.unmeasured),
                "groups": _groups(self.graph),
            }
        return figures


def inspect(
    model: str,
    *,
    table: str | Path | LatencyTable | None = None,
    exclude: Sequence[str] = (),
    inputs: Mapping[str, Sequence[int]] = MappingProxyType({}),
    trust: bool = False,
) -> Inspection:
    """A model's ops and layers, its channel groups, which of them can shrink, why not the others;
    and the layers that other blocks do not reach, each with the reason.

    Args:
        model: MODEL string or exported file; see ``latprof.profile``.
        table: latency table, for each op's time.
        exclude: names or patterns of modules to leave whole.
        inputs: {name: shape} of inputs whose dims a file leaves open.
        trust: load a ``.pt2`` file whatever it holds; it can run any code.

    Raises:
        ModelLoadError, TraceError, TableError: as they say.

    Example:
        >>> found = latprof.inspect("zoo:resnet18")        # doctest: +SKIP
        >>> [g.name for g in found.graph.groups if g.prunable][:2]  # doctest: +SKIP
        ['stem.conv', 'stage1.0.conv1']
    """
    graph, blocks, warnings = None, list[str](), tuple[str, ...]()
    surrogate, found = None, None
    left: tuple[Unreached, ...] = ()
    if table is not None:
        surrogate = fit(table) if isinstance(table, LatencyTable) else fit_file(table)
    if Path(model).suffix in (".onnx", ".tflite"):
        from latprof.compress import workloads_of_file

        read = workloads_of_file(Path(model), inputs)
        workloads: Sequence[Workload] = read
        if note := read.note:
            warnings = (f"{model}: {note}",)
    else:
        from latprof.compress import trace  # torch, which files do without
        from latprof.compress.space import layers_of, residual_blocks, unreached
        from latprof.models import load_model

        module, example_inputs = load_model(model, trust=trust)[:2]
        graph = trace(module, example_inputs, exclude=tuple(exclude))
        workloads, blocks = graph.workloads(), residual_blocks(module, graph)
        found = layers_of(module, graph, surrogate, blocks)
        left = unreached(module, graph)
        if graph.uncounted:
            warnings = (f"{model}: {graph.uncounted}",)
    latencies_s = tuple[float, ...]()
    if surrogate is not None:
        predicted = surrogate.predict(workloads)
        latencies_s = tuple(map(float, predicted.latency_s))
        warnings += predicted.warnings
    return Inspection(
        model, tuple(workloads), graph, tuple(blocks), latencies_s, warnings, found, left
    )


def _groups(graph: Graph) -> list[dict[str, Any]]:
    return [
        {
            "name": g.name,
            "units": g.size,
            "channels_each": g.unit,
            "minimum": g.minimum,
            "divisor": g.divisor,
            "prunable": g.prunable,
            "reason": g.reason,
            "readers": [str(part) for part in g.readers],
            "writers": [str(part) for part in g.writers],
        }
        for g in graph.groups
    ]
