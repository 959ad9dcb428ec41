"""A finished run layer by layer: predicted, measured, and the staircases its widths stand on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from latprof.compress import Compressor
from latprof.compress.cost import LatencyCost
from latprof.compress.methods import candidates
from latprof.devices import Device, Event, ScheduleSettings, profile
from latprof.tables import family_text
from latprof.vocabulary import LayerResult, StaircaseResult

__all__ = ["layers", "staircases"]

#: More stairs than this in one picture are not looked at.
_MOST_GROUPS = 12
_POINTS = 192
#: For a picture, a few percent will do.
_BRIEF = ScheduleSettings(min_rounds=3, max_rounds=5, min_discards=4, noisy=0.05, pause_s=0.0)


def layers(
    comp: Compressor, device: Device, on_event: Callable[[Event], None] | None = None
) -> list[LayerResult]:
    """Each op of the compressed network, measured alone beside its prediction; seconds.

    Ops none of whose readings could be used have ``latency_s`` None.
    """
    counts = comp.counts()
    cost = _cost(comp)
    ops = cost.space.ops(counts, comp.goals.paying(counts))
    small = [workload for made in ops for workload in made]
    measured = {
        row.workload: row.latency_s
        for row in profile(device, small, settings=_BRIEF, on_event=on_event)
        if row.usable
    }
    predicted_s = iter(cost.surrogate.predict(small).latency_s)
    return [
        LayerResult(
            module=op.module,
            op=family_text(after),
            before=op.workload.channels,
            after=after.channels,
            predicted_s=float(next(predicted_s)),
            latency_s=measured.get(after),
        )
        for op, made in zip(cost.space.graph.ops, ops, strict=True)
        for after in made
    ]


def staircases(comp: Compressor) -> list[StaircaseResult]:
    """Predicted latency of the whole network as one group widens and the others stay; seconds.

    The groups whose width decides most, from the most.
    """
    counts = comp.counts()
    gone = comp.space.vanished(counts)
    found = []
    for index, group in enumerate(comp.graph.groups):
        if group.prunable and index not in gone:
            stride = -(-group.size // _POINTS)
            choices = candidates(group)
            every = [*range(stride, group.size + 1, stride), *choices, counts[index]]
            along = np.unique(every)
            found.append(
                StaircaseResult(
                    group=group.name,
                    after=counts[index],
                    choices=tuple(choices),
                    counts=tuple(along.tolist()),
                    latency_s=tuple(_along(comp, index, along).tolist()),
                )
            )
    found.sort(key=lambda row: row.latency_s[0] - row.latency_s[-1])
    return found[:_MOST_GROUPS]


def _along(comp: Compressor, index: int, along: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(M,) seconds of the network with ``along`` units in the group, steps and all; of factored
    layers the steps are not looked at, nor is what was dropped."""
    counts, cost = comp.counts(), _cost(comp)
    became = cost.space.ops(counts, comp.goals.paying(counts))
    rows = np.repeat(np.asarray(counts, dtype=float)[None], len(along) + 1, axis=0)
    rows[1:, index] = along  # the first is the network as it is
    graph = cost.space.graph
    mixing, offset = graph.channel_map()
    rows = rows[:, : mixing.shape[2]]
    seconds = np.zeros(len(along) + 1)
    reload_fraction = cost.surrogate.reload_fraction([w for made in became for w in made])
    for op, a, b, made in zip(graph.ops, mixing, offset, became, strict=True):
        if a[:, index].any() and len(made) == 1:
            c_in, c_out = (rows @ a.T + b).T
            seconds += cost.surrogate.shares_at(op.workload, c_in, c_out, reload_fraction)
    changed = (seconds[1:] - seconds[0]) * float(cost.correction)
    return np.asarray(cost.exact(counts) + changed)


def _cost(comp: Compressor) -> LatencyCost:
    assert isinstance(comp.cost_model, LatencyCost)  # a run has a target
    return comp.cost_model
