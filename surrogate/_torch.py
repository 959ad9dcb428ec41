"""torch evaluation: every op of a model in one batched look-up, with exact gradients.

The one module where numpy becomes torch. At build time each op's law is read at its knots into
a small grid; forward reads all grids at once, bilinearly. At the knots, which hold the tile tops,
the value is ``predict``'s; between them it is the straight line over the step. That is on
purpose: the law itself is flat inside a tile, and a flat penalty teaches a mask nothing, while
the line says what is gained by reaching the next tile. Its gradient is exact for what it returns.

Where what a model touches outgrows the near cache all ops load their weights anew. How much of
them follows from the sum, so one op's counts move the seconds of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from latprof.errors import UsageError
from latprof.surrogate._shapes import Floats, Shapes
from latprof.surrogate.compose import LOST, Composition
from latprof.vocabulary import require
from latprof.workloads import Workload

if TYPE_CHECKING:
    import torch

else:
    torch = require("torch", extra="train", why="the surrogate's gradient")

__all__ = ["LatencyModule", "latency_module"]

#: An op's knots along c_in and c_out, both from 0, and what the values are there (P, len, len).
_Grid = tuple[Floats, Floats, Floats]

_MB = 1e6

#: An op's largest count: the look-up has an entry for each.
_MAX_COUNT = 4_000_000


class Readable(Protocol):
    """What the module reads of a surrogate; see Surrogate for each."""

    @property
    def composition(self) -> Composition: ...

    def knots(self, member: Workload, axis: int, limit: int) -> Floats: ...

    def shares_at(
        self, member: Workload, c_in: Floats, c_out: Floats, reload_fraction: float
    ) -> Floats: ...


class LatencyModule(torch.nn.Module):
    """(..., N, 2) real-valued counts (c_in, c_out) -> (..., N) seconds of each op in the model.

    Counts are held to [0, the op's full count]; at 0 an op costs nothing. Add ``constant_s``
    for the whole model. float32 unless moved by ``.double()``; follows ``.to(device)``.
    """

    limits: torch.Tensor  # (N, 2)
    offsets: torch.Tensor  # (N, 2) where an op's axis begins in `starts`, by whole count
    starts: torch.Tensor  # (S, 2) per op, axis and whole count: the knot below, 1 / the gap above
    places: torch.Tensor  # (S,) the same knot's place among the op's values
    corners: torch.Tensor  # (4, N) an op's first value, and the steps to the cell's corners
    values: torch.Tensor  # (P, V) at the knots: seconds; megabytes of weights and of all touched

    def __init__(
        self, grids: Sequence[_Grid], composition: Composition, *, alternatives: int
    ) -> None:
        """Args:
        alternatives: so many of the last ops are no part of the model.
        """
        super().__init__()
        self.parts_of_model = len(grids) - alternatives
        self.constant_s = composition.fixed_s(self.parts_of_model)
        self.cache_mb = (composition.cache_bytes or 0.0) / _MB
        self.per_mb_s = composition.per_byte_s[0] * _MB
        starts, places, offsets, corners, values = [], [], [], [], []
        at_start = at_value = 0
        for knots_in, knots_out, at_knots in grids:
            strides = (len(knots_out), 1)
            row = []
            for knots, stride in zip((knots_in, knots_out), strides, strict=True):
                whole = np.arange(int(knots[-1]) + 1)
                cell = np.minimum(np.searchsorted(knots, whole, side="right") - 1, len(knots) - 2)
                starts.append(np.stack([knots[cell], 1 / np.diff(knots)[cell]], axis=1))
                places.append(cell * stride)
                row.append(at_start)
                at_start += len(whole)
            offsets.append(row)
            corners.append([at_value + step for step in (0, 1, strides[0], strides[0] + 1)])
            values.append(at_knots.reshape(len(at_knots), -1))
            at_value += at_knots[0].size
        limits = [[knots_in[-1], knots_out[-1]] for knots_in, knots_out, _ in grids]
        self._hold("limits", np.array(limits).reshape(-1, 2))
        self._hold("offsets", np.array(offsets, dtype=np.int64).reshape(-1, 2))
        self._hold("starts", np.concatenate(starts))
        self._hold("places", np.concatenate(places))
        self._hold("corners", np.array(corners, dtype=np.int64).T)
        self._hold("values", np.concatenate(values, axis=1))

    def _hold(self, name: str, array: npt.NDArray[np.generic]) -> None:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        self.register_buffer(name, tensor.float() if tensor.is_floating_point() else tensor)

    def forward(self, counts: torch.Tensor) -> torch.Tensor:
        counts = torch.minimum(counts.clamp(min=0), self.limits)
        where = self.offsets + counts.detach().long()  # (..., N, 2)
        start = self.starts[where]  # (..., N, 2, 2)
        x, y = ((counts - start[..., 0]) * start[..., 1]).unbind(-1)  # (..., N) in [0, 1]
        corners = self.corners.view(4, *(1,) * (counts.ndim - 2), -1)
        t = self.values[:, corners + self.places[where].sum(-1)].unbind(1)  # 4 of (P, ..., N)
        low = t[0] + (t[1] - t[0]) * y
        high = t[2] + (t[3] - t[2]) * y
        read = (low + (high - low) * x).unbind()
        if not self.cache_mb:
            return read[0]
        seconds, weights, touched = read
        total = touched[..., : self.parts_of_model].sum(-1, keepdim=True)
        reload_fraction = LOST * (1 - self.cache_mb / total.clamp_min(self.cache_mb))
        return seconds + self.per_mb_s * weights * reload_fraction.clamp_max(1.0)


def latency_module(
    surrogate: Readable, workloads: Sequence[Workload], alternatives: int
) -> LatencyModule:
    """See Surrogate.torch_module."""
    families: dict[tuple[str, int, int], _Grid] = {}
    grids = []
    for workload in workloads:
        if max(workload.channels) > _MAX_COUNT:
            raise UsageError(
                f"{workload.label} has {max(workload.channels)} channels; a gradient is offered up "
                f"to {_MAX_COUNT}; split the layer, or leave it out of what is compressed"
            )
        key = (workload.family, *workload.channels)
        if key not in families:
            families[key] = _grid(surrogate, workload)
        grids.append(families[key])
    return LatencyModule(grids, surrogate.composition, alternatives=alternatives)


def _grid(surrogate: Readable, full: Workload) -> _Grid:
    """Of an op of this full size."""
    axes = [surrogate.knots(full, axis, full.channels[axis]) for axis in (0, 1)]
    if full.tied:
        inside = _at_knots(surrogate, full, axes[1], axes[1])[:, None]
        axes[0] = np.array([float(full.channels[0])])
    else:
        pairs = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        inside = _at_knots(surrogate, full, *pairs.T).reshape(-1, *map(len, axes))
    # An op without channels costs nothing; a tied op's c_in says nothing that its c_out does not.
    at_knots = np.pad(inside, ((0, 0), (1, 0), (1, 0)))
    if full.tied:
        at_knots[:, 0] = at_knots[:, 1]
    return np.append(0.0, axes[0]), np.append(0.0, axes[1]), at_knots


def _at_knots(surrogate: Readable, full: Workload, c_in: Floats, c_out: Floats) -> Floats:
    """(P, M) what ``values`` holds."""
    if surrogate.composition.cache_bytes is None:
        return surrogate.shares_at(full, c_in, c_out, reload_fraction=1.0)[None]
    seconds, shapes = (
        surrogate.shares_at(full, c_in, c_out, reload_fraction=0.0),
        Shapes.at(full, c_in, c_out),
    )
    return np.stack([seconds, shapes.weight_bytes / _MB, shapes.touched_bytes / _MB])
