"""The base of a device of many processors: the fastest of a few kernels, each in whole waves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import NDArray

from latprof.surrogate._shapes import Floats, Shapes

__all__ = ["WaveBase"]

#: Output tiles (positions, channels) of a matrix library's kernels, each also the other way round,
#: and into how many parts one cuts the inner dimension of a plain product that has too few tiles
#: to fill the device.
_ONE_WAY = ((32, 32), (64, 64), (128, 128), (64, 32), (128, 32), (128, 64), (256, 64))
_TILES = (*_ONE_WAY, *((wide, tall) for tall, wide in _ONE_WAY if tall != wide))
_SPLITS = (1, 2, 4, 8)
_KERNELS = np.array([(*tile, parts) for tile, parts in product(_TILES, _SPLITS)], dtype=float)

#: Sides of the tiles that Winograd's products are cut into, and weights of the kernel it is for.
_SQUARE = np.array([tall for tall, wide in _ONE_WAY if tall == wide], dtype=float)
_AREA = 9

#: Inner terms that a kernel loads at once.
_CHUNK = 8.0

#: Numbers of processors looked for: a GPU's, no further apart than shows in the waves.
_PROCESSORS = (8, 16, 20, 28, 36, 46, 58, 68, 80, 94, 108, 120, 132, 144)

#: Logs of a middling GPU's seconds per product, per element fetched into a tile, per inner term of
#: a tile however small, per tile, per byte read, per byte of a split's partial sums, and per call;
#: last, a byte written over a byte read. The first two are of one processor out of _TYPICALLY.
#: A table shows their level; they stray from these proportions by _DEVIATION.
_TYPICAL = np.log([8e-12, 1e-10, 1e-7, 2e-7, 1e-12, 4e-12, 1e-5, 1.7])
_DEVIATION = np.array([0.7, 1.0, 1.0, 1.0, 0.7, 1.0, 1.0, 0.3])
_TYPICALLY = 80
_SHARED = np.array([1.0, 1.0, 0, 0, 0, 0, 0, 0])
_TIMED = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0])

#: Of an op of stride 2 in each direction a quarter of the input is used: what it costs in memory
#: and in fetching into tiles, as powers of that.
_READ_WHOLE, _FETCH_APART = 0.75, 0.25

#: Kernels nearer than this part are as likely chosen.
_TIE = 0.03

#: The law misses by about this part; what it misses by more counts by size, not by square.
_SMALL_ERROR = 0.07

#: Errors are outliers past this many standard deviations, as their median gives it.
_OUTLIER = 2.0

#: Weights are fitted on about this many rows, and processors counted on fewer.
_FIT_ROWS, _COUNT_ROWS = 400, 120


@dataclass(frozen=True)
class WaveBase:
    """Seconds of a matrix product on many processors. A kernel cuts the output into tiles, and a
    wave of them is one for each processor. A call takes as long as its waves, or the inner loop of
    one tile, or its traffic, whichever is longest; and a launch. The library runs the fastest of
    its kernels, 3x3 convolutions by Winograd's algorithm too.

    Args:
        processors: that share a wave.
        prior: (8,) what the weights are drawn to.
        weights: (8,) logs of what _TYPICAL lists.
    """

    processors: int
    prior: Floats
    weights: Floats

    @classmethod
    def fit(
        cls, shapes: Shapes, latency_s: Floats, processors: Sequence[int] = _PROCESSORS
    ) -> Self:
        """Count the processors by the misfit; then weights, maximum a posteriori."""
        few, few_s = _some(shapes, latency_s, _COUNT_ROWS)
        level = float(np.median(np.log(few_s) - _log_s(few, _TYPICALLY, _TYPICAL)))
        priors = {n: _prior(n, level) for n in processors}
        tried = {n: _solve(few, few_s, n, prior, prior, 10) for n, prior in priors.items()}
        count = min(tried, key=lambda n: tried[n][0])
        some, some_s = _some(shapes, latency_s, _FIT_ROWS)
        prior = priors[count]
        return cls(count, prior, _solve(some, some_s, count, prior, tried[count][1], 30)[1])

    def refit(self, shapes: Shapes, latency_s: Floats) -> Self:
        """The same processors with weights from other rows."""
        some, some_s = _some(shapes, latency_s, _FIT_ROWS)
        weights = _solve(some, some_s, self.processors, self.prior, self.weights, 10)[1]
        return type(self)(self.processors, self.prior, weights)

    def of_kind(self, shapes: Shapes, latency_s: Floats) -> Self:
        """Of one kind of op, where this is of several: its rows move the weights of them all."""
        return replace(self, prior=self.weights).refit(shapes, latency_s)

    def latency_s(self, shapes: Shapes) -> Floats:
        return np.asarray(np.exp(_log_s(shapes, self.processors, self.weights)))

    def log_residual(self, shapes: Shapes, latency_s: Floats) -> Floats:
        """(N,) logs of measured over the base's, outliers drawn in: what is far off the fastest of
        the kernels was run by another, for reasons its neighbors do not share."""
        error = np.log(latency_s / self.latency_s(shapes))
        most = _OUTLIER * 1.4826 * np.median(np.abs(error))
        return np.asarray(np.clip(error, -most, most))

    def regime(self, shapes: Shapes) -> NDArray[np.bool_]:
        """(N,) the ops that are one plain product: libraries have kernels of their own for it."""
        return _plain(shapes)


def _log_s(shapes: Shapes, processors: int, weights: Floats) -> Floats:
    """(N,) logs of seconds."""
    total = _direct_s(shapes, processors, weights)
    if (can := _by_winograd(shapes)).any():
        winograd = np.full((len(shapes), 2 * len(_SQUARE)), np.inf)
        winograd[can] = _winograd_s(shapes[can], processors, weights)
        total = np.concatenate([total, winograd], axis=1)
    logs = np.log(total)
    least = logs.min(axis=1)
    chosen = np.exp((least[:, None] - logs) / _TIE)
    return np.asarray(least - _TIE * np.log(chosen.sum(axis=1)))


def _direct_s(shapes: Shapes, processors: int, weights: Floats) -> Floats:
    """(N, J) seconds of one product, by kernel."""
    tall, wide, parts = _KERNELS.T  # (J,) each
    *_, read_s, sum_s, call_s, written = np.exp(weights)
    strided = shapes.m_in / shapes.m_out
    inner = (shapes.c_in * shapes.depth / shapes.groups)[:, None]
    products, rows, columns = (each[:, None] for each in shapes.products)
    tiles = products * np.ceil(rows / tall) * np.ceil(columns / wide) * parts
    fetched = tall * strided[:, None] ** _FETCH_APART + wide
    busy = _busy_s(inner / parts, tiles, tall * wide, fetched, processors, weights)
    read = shapes.in_bytes * strided ** (_READ_WHOLE - 1) + shapes.weight_bytes
    traffic = read_s * (read + written * shapes.out_bytes)
    total = _over_memory(busy, traffic[:, None]) + call_s
    total += np.where(parts > 1, sum_s * parts * shapes.out_bytes[:, None], 0.0)
    total[np.ix_(~_plain(shapes), parts > 1)] = np.inf
    return np.asarray(total)


def _busy_s(
    inner: Floats, tiles: Floats, area: Floats, fetched: Floats, processors: int, weights: Floats
) -> Floats:
    """Seconds of whole waves, or of the inner loop of one tile, whichever is longer.

    Args:
        inner: terms of each element of a tile.
        tiles: of all processors.
        area: elements of a tile.
        fetched: what is fetched into it for each inner term.
    """
    product_s, fetch_s, inner_s, tile_s, *_ = np.exp(weights)
    inner = np.ceil(inner / _CHUNK) * _CHUNK
    each = inner * (product_s * area + fetch_s * fetched) + tile_s
    return _over_latency(np.ceil(tiles / processors) * each, inner_s * inner)


def _by_winograd(shapes: Shapes) -> NDArray[np.bool_]:
    """(N,) the convolutions that Winograd's algorithm computes: 3x3, of stride 1, ungrouped."""
    whole = (shapes.groups == 1) & (shapes.one_axis == 0) & (shapes.m_in == shapes.m_out)
    return np.asarray(whole & (shapes.depth == _AREA))


def _winograd_s(shapes: Shapes, processors: int, weights: Floats) -> Floats:
    """(N, 2 J) seconds by Winograd's algorithm (Lavin and Gray, arXiv:1509.09308), by square tile.

    A block of 4x4 outputs takes 36 products instead of 144, apart from each other, between
    transforms that go through memory; one of 2x2 takes 16 instead of 36, in one kernel.
    """
    side = _SQUARE[None]
    *_, read_s, _, call_s, written = np.exp(weights)
    inputs, columns = shapes.c_in[:, None], np.ceil(shapes.c_out[:, None] / side)
    blocks = shapes.m_out * shapes.blocks / 16
    tiles = 36 * np.ceil(blocks[:, None] / side) * columns
    apart = _busy_s(inputs, tiles, side**2, 2 * side, processors, weights)
    transformed = 36 * blocks * (shapes.c_in + shapes.c_out) * shapes.width
    moved = (1 + written) * (transformed + 36 / _AREA * shapes.weight_bytes)
    moved += shapes.in_bytes + shapes.weight_bytes + written * shapes.out_bytes
    apart += (read_s * moved + 4 * call_s)[:, None]  # two transforms of operands, one of the result

    positions = (shapes.m_out * np.sqrt(shapes.blocks))[:, None]  # in whole blocks of 2x2, about
    tiles = np.ceil(positions / side) * columns
    fused = _busy_s(16 / 4 * inputs, tiles, side**2, 2 * side, processors, weights)
    read = shapes.in_bytes + 16 / _AREA * shapes.weight_bytes
    traffic = read_s * (read + written * shapes.out_bytes)
    fused = _over_memory(fused, traffic[:, None]) + 2 * call_s
    return np.concatenate([apart, fused], axis=1)


def _plain(shapes: Shapes) -> NDArray[np.bool_]:
    return np.asarray((shapes.m_in == shapes.m_out) & (shapes.batch == 1) & (shapes.depth == 1))


def _over_latency(a: Floats, b: Floats) -> Floats:
    """(a**4 + b**4) ** (1/4): the longer hides the shorter. Powers would take most of a fit."""
    longer = np.maximum(a, b)
    square = (np.minimum(a, b) / longer) ** 2
    return np.asarray(longer * np.sqrt(np.sqrt(1 + square * square)))


def _over_memory(a: Floats, b: Floats) -> Floats:
    """(a**2.5 + b**2.5) ** (1/2.5), less sharply."""
    longer = np.maximum(a, b)
    ratio = np.minimum(a, b) / longer
    return np.asarray(longer * (1 + ratio * ratio * np.sqrt(ratio)) ** 0.4)


def _prior(processors: int, level: float) -> Floats:
    return np.asarray(_TYPICAL + level * _TIMED + np.log(processors / _TYPICALLY) * _SHARED)


def _solve(
    shapes: Shapes, latency_s: Floats, processors: int, center: Floats, start: Floats, rounds: int
) -> tuple[float, Floats]:
    """(misfit, weights): least squares for small errors of the log, least errors for large."""

    from scipy.optimize import least_squares  # loads slowly, and a kept fit does without

    def misses(offset: Floats) -> Floats:
        error = _log_s(shapes, processors, center + _DEVIATION * offset) - np.log(latency_s)
        size = np.sqrt(2 * (np.sqrt(1 + (error / _SMALL_ERROR) ** 2) - 1))
        return np.concatenate([np.sign(error) * size, offset])

    solved = least_squares(misses, (start - center) / _DEVIATION, max_nfev=rounds)
    return float(solved.cost), center + _DEVIATION * solved.x


def _some(shapes: Shapes, latency_s: Floats, most: int) -> tuple[Shapes, Floats]:
    every = max(len(shapes) // most, 1)
    return shapes[::every], latency_s[::every]
