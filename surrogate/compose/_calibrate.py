"""Fitting the composition to whole models that were measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latprof.surrogate._conformal import quantile
from latprof.surrogate._shapes import Floats, Shapes, by_label
from latprof.surrogate.compose._composition import Composition
from latprof.surrogate.methods import RooflineLaw
from latprof.tables import ModelMeasurement
from latprof.workloads import Workload

if TYPE_CHECKING:
    from latprof.surrogate._prediction import Prediction

__all__ = ["calibrate", "uncalibrated"]

#: The part of an op's call that it does not pay inside a model.
_CALL = 0.95

#: Runtimes that time an op alone in replays of a recorded graph, in which it pays no call of its
#: own: what it pays there, a kernel's launch, it pays inside a model too.
_WITHOUT_CALLS = ("cuda", "tensorrt")

#: Loading a byte of weights that other ops have pushed out of the near caches, in MACs. Alone, an
#: op finds its weights where its last call left them.
_RELOADED_BYTE_MACS = 2.0

#: An op that waits for its weights alone pays at most this part of that time again inside a model.
_RELOADED_AGAIN = 1 / 3

#: How far terms stray from "ops add up": the ridge's prior. Factors, of ops that multiply and of
#: others, which a runtime may fuse away; and the other terms, as parts of a model's latency.
_ARITHMETIC_SD, _FACTOR_SD = 0.2, 0.5
_SHARE_SD = 0.2

#: Of ops that multiply by weights, the least factor. Their time alone and the bytes that they load
#: anew go together in networks of one number of rows, and noise would give all of it to the bytes:
#: then products of few bits, which no whole model calibrates, look too slow.
_LEAST_FACTOR = 0.7

#: Ridge strengths tried, as the relative noise they trust a whole model's timing to.
_NOISES = (0.003, 0.01, 0.03, 0.1)
_MIDDLING = 0.03

#: Sizes of the near cache that are tried, the part by which one must lower the error of whole
#: models to be taken, and the fewest models: of a few, some size suits their noise, and masks
#: would be trained towards it. A cost that so few models pay half of cannot be read from them.
_CACHES = tuple(2.0 ** (n / 4) for n in range(72, 105))  # 256 KiB to 64 MiB
_MIN_IMPROVEMENT, _MODELS_FOR_A_CACHE, _FEW_PAY = 0.05, 12, 3

#: The ridge was chosen by the same errors as the interval is; the fewer they are, the more that
#: flatters it: by about this many over their number.
_FEW = 4.0

#: An interval of a whole model is never narrower than this part either way.
_LEAST_ERROR = 0.01


def uncalibrated(
    shapes: Shapes, latency_s: Floats, roofline: RooflineLaw, runtime: str
) -> Composition:
    """What is assumed of a target of which no whole model was measured: an op pays no call of its
    own inside a model, and loads again a part of its weights. `benchmarks/uncalibrated.py` holds
    it to 40 networks.

    Loading is charged by the arithmetic that takes as long, and no more than in proportion to what
    the cheapest byte of weights costs an op alone: in a table of ops that all wait for memory,
    arithmetic looks as slow as memory is.

    Args:
        shapes, latency_s: every op measured alone, (N,).
        roofline: fitted to them.
        runtime: of the target.
    """
    call_s = 0.0 if runtime in _WITHOUT_CALLS else _CALL * _call_s(shapes, latency_s, roofline)
    net_s = latency_s - call_s
    rates = [
        share * float((net_s[some] / amount[some]).min())
        for share, amount in (
            (_RELOADED_BYTE_MACS, shapes.macs),
            (_RELOADED_AGAIN, shapes.weight_bytes),
        )
        if (some := amount > 0).any()
    ]
    per_byte_s = min(rates, default=0.0)
    return Composition(per_byte_s=(per_byte_s, 0.0), per_op_s=-call_s, constant_s=call_s)


def _call_s(shapes: Shapes, latency_s: Floats, roofline: RooflineLaw) -> float:
    """Seconds that a call takes whatever its op: the smallest op less its own work where that is
    mostly a call; else what all ops share, as the roofline sees it."""
    least = int(np.argmin(latency_s))
    smallest_s = float(latency_s[least])
    work_s = float(roofline.latency_s(shapes)[least]) - roofline.call_s
    if work_s < smallest_s / 2:
        return smallest_s - work_s
    return min(roofline.call_s, smallest_s)


def calibrate(
    predict: Callable[[Sequence[Workload]], Prediction],
    models: Sequence[ModelMeasurement],
    prior: Composition,
) -> Composition:
    """The composition that predicts these models best when each is left out in turn.

    Relative least squares; factors and costs of bytes are non-negative; every term is shrunk to
    the prior's. The size of the near cache is looked for where whole models show one.
    """
    labels = tuple(sorted({w.label for m in models for w in m.workloads}))
    parts = [_parts(predict, m, labels) for m in models]
    measured_s = np.array([m.latency_s for m in models])
    multiply = {w.label for m in models for w in m.workloads if w.macs > 0}
    weighted = {w.label for m in models for w in m.workloads if w.macs > 0 and w.weight_count}
    assumed = _Assumed(
        np.array([1.0] * len(labels) + [*prior.per_byte_s, prior.per_op_s, prior.constant_s]),
        np.array([_ARITHMETIC_SD if label in multiply else _FACTOR_SD for label in labels]),
        np.array([_LEAST_FACTOR if label in weighted else 0.0 for label in labels] + 4 * [0.0]),
    )

    cache_bytes = _cache_bytes(parts, measured_s, assumed)
    terms = _terms(parts, cache_bytes)
    held_out_s = {n: _left_out(terms, measured_s, assumed, n) for n in _NOISES}
    noise = min(_NOISES, key=lambda n: np.abs(held_out_s[n] / measured_s - 1).mean())
    summed_s = terms[:, : len(labels)].sum(axis=1)
    weights = _solve(terms, measured_s, assumed, noise)
    errors = np.abs(held_out_s[noise] / measured_s - 1)
    *factors, per_weight, per_activation, per_op, constant = (float(w) for w in weights)
    return Composition(
        factors=dict(zip(labels, factors, strict=True)),
        per_byte_s=(per_weight, per_activation),
        cache_bytes=cache_bytes,
        per_op_s=per_op,
        constant_s=constant,
        relative_error=max(quantile(errors) * (1 + _FEW / len(errors)), _LEAST_ERROR),
        held_out=tuple(
            (float(p), float(m), float(s))
            for p, m, s in zip(held_out_s[noise], measured_s, summed_s, strict=True)
        ),
    )


@dataclass(frozen=True)
class _Assumed:
    """Args:
    weights: (L + 4,) of the terms, where nothing was measured.
    factor_sd: (L,) how far each label's strays from it.
    least: (L + 4,) weights that counts follow are no less than these.
    """

    weights: Floats
    factor_sd: Floats
    least: Floats


@dataclass(frozen=True)
class _Parts:
    """Args:
    alone_s: (L,) seconds alone by label.
    weight_bytes, touched_bytes: (N,) of each op.
    """

    alone_s: Floats
    weight_bytes: Floats
    touched_bytes: Floats


def _parts(
    predict: Callable[[Sequence[Workload]], Prediction],
    model: ModelMeasurement,
    labels: Sequence[str],
) -> _Parts:
    alone_s = predict(model.workloads).latency_s
    positions = by_label(model.workloads)
    shapes = [Shapes.of([model.workloads[i] for i in rows]) for rows in positions.values()]
    return _Parts(
        np.array([float(alone_s[positions.get(label, [])].sum()) for label in labels]),
        np.concatenate([s.weight_bytes for s in shapes]),
        np.concatenate([s.touched_bytes for s in shapes]),
    )


def _terms(models: Sequence[_Parts], cache_bytes: float | None) -> Floats:
    """(K, L + 4) of each model: seconds alone by label, bytes of weights loaded anew and of
    activations, ops, and one."""
    composition = Composition(cache_bytes=cache_bytes)
    rows = []
    for m in models:
        reload_fraction = composition.reload_fraction(m.touched_bytes.sum())
        loaded = composition.loaded_bytes(m.weight_bytes, m.touched_bytes, reload_fraction).sum()
        activations = (m.touched_bytes - m.weight_bytes).sum()
        rows.append([*m.alone_s, loaded, activations, len(m.weight_bytes), 1.0])
    return np.array(rows)


def _cache_bytes(models: Sequence[_Parts], measured_s: Floats, assumed: _Assumed) -> float | None:
    """The size of the near cache that the models show, if they show one."""
    if len(models) < _MODELS_FOR_A_CACHE:
        return None

    def shown(cache_bytes: float) -> bool:
        composition = Composition(cache_bytes=cache_bytes)
        return (
            sum(composition.reload_fraction(m.touched_bytes.sum()) > 1 / 2 for m in models)
            > _FEW_PAY
        )

    def error(cache_bytes: float | None) -> float:
        held_out_s = _left_out(_terms(models, cache_bytes), measured_s, assumed, _MIDDLING)
        return float(np.abs(held_out_s / measured_s - 1).mean())

    best, size = min(((error(s), s) for s in _CACHES if shown(s)), default=(np.inf, None))
    return size if best <= (1 - _MIN_IMPROVEMENT) * error(None) else None


def _solve(terms: Floats, measured_s: Floats, assumed: _Assumed, noise: float) -> Floats:
    """(L + 4,) weights of the terms, shrunk to what is assumed."""
    from scipy.optimize import nnls  # loads slowly, and a kept fit does without

    relative = terms / measured_s[:, None]
    share = np.abs(relative).mean(axis=0)[len(assumed.factor_sd) :]
    # A term that no model has, such as weights where there are none, stays at its prior.
    other_sd = _SHARE_SD / np.where(share > 0, share, 1.0)
    sd = np.concatenate([assumed.factor_sd, other_sd])
    a = np.concatenate([relative / noise, np.diag(1 / sd)])
    b = np.concatenate([np.ones(len(terms)) / noise, assumed.weights / sd])
    scale = np.linalg.norm(a, axis=0)  # bytes and seconds differ by ten orders
    # What follows counts must not fall with them; what does not is an op's call paid alone.
    signed = np.concatenate([a, -a[:, -2:]], axis=1) / np.append(scale, scale[-2:])
    weights, _ = nnls(signed, b - a @ assumed.least)
    weights[-4:-2] -= weights[-2:]
    return np.asarray(weights[:-2] / scale + assumed.least)


def _left_out(terms: Floats, measured_s: Floats, assumed: _Assumed, noise: float) -> Floats:
    """(K,) seconds of each model by a composition of the others; of one alone, by the prior."""
    if len(terms) == 1:
        return np.asarray(terms @ assumed.weights)
    others = ~np.eye(len(terms), dtype=bool)
    solved = [_solve(terms[rest], measured_s[rest], assumed, noise) for rest in others]
    return np.asarray((terms * np.stack(solved)).sum(axis=1))
