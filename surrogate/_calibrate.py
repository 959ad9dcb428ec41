"""Fitting the composition to whole models that were measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import lsq_linear

from latprof._workload import Workload
from latprof.surrogate._composition import Composition
from latprof.surrogate._conformal import quantile
from latprof.surrogate._shapes import Floats, Shapes, by_label
from latprof.tables import ModelMeasurement

if TYPE_CHECKING:
    from latprof.surrogate._surrogate import Prediction

__all__ = ["calibrate"]

#: How far terms stray from "ops add up", as parts of a model's latency: the ridge's prior.
_FACTOR_SD = 0.5
_SHARE_SD = 0.2

#: Ridge strengths tried, as the relative noise they trust a whole model's timing to.
_NOISES = (0.003, 0.01, 0.03, 0.1)

#: An interval of a whole model is never narrower than this part either way.
_LEAST_ERROR = 0.01


def calibrate(
    predict: Callable[[Sequence[Workload]], Prediction], models: Sequence[ModelMeasurement]
) -> Composition:
    """The composition that predicts these models best when each is left out in turn.

    Relative least squares; factors are non-negative; every term is shrunk to ops adding up.
    """
    labels = tuple(sorted({w.label for m in models for w in m.workloads}))
    terms = np.stack([_terms(predict, m, labels) for m in models])
    measured_s = np.array([m.latency_s for m in models])
    summed_s = terms[:, : len(labels)].sum(axis=1)
    held_out_s = {n: _left_out(terms, measured_s, len(labels), n) for n in _NOISES}
    noise = min(_NOISES, key=lambda n: np.abs(held_out_s[n] / measured_s - 1).mean())
    weights = _solve(terms, measured_s, len(labels), noise)
    errors = np.abs(held_out_s[noise] / measured_s - 1)
    *factors, per_weight, per_activation, per_op, constant = (float(w) for w in weights)
    return Composition(
        factors=dict(zip(labels, factors, strict=True)),
        per_byte_s=(per_weight, per_activation),
        per_op_s=per_op,
        constant_s=constant,
        relative_error=max(quantile(errors), _LEAST_ERROR),
        held_out=tuple(
            (float(p), float(m), float(s))
            for p, m, s in zip(held_out_s[noise], measured_s, summed_s, strict=True)
        ),
    )


def _terms(
    predict: Callable[[Sequence[Workload]], Prediction],
    model: ModelMeasurement,
    labels: Sequence[str],
) -> Floats:
    """(L + 4,) seconds alone by label, bytes of weights and activations, ops, and one."""
    alone_s = predict(model.workloads).latency_s
    positions = by_label(model.workloads)
    sums = [float(alone_s[positions.get(label, [])].sum()) for label in labels]
    shapes = [Shapes.of([model.workloads[i] for i in rows]) for rows in positions.values()]
    weights = sum(float(s.weight_bytes.sum()) for s in shapes)
    activations = sum(float(s.activation_bytes.sum()) for s in shapes)
    return np.array([*sums, weights, activations, len(model.workloads), 1.0])


def _solve(terms: Floats, measured_s: Floats, n_labels: int, noise: float) -> Floats:
    """Ridge-shrunk weights of the terms."""
    relative = terms / measured_s[:, None]
    size = np.abs(relative).mean(axis=0)
    prior = np.where(np.arange(terms.shape[1]) < n_labels, 1.0, 0.0)
    sd = np.where(prior > 0, _FACTOR_SD, _SHARE_SD / np.maximum(size, 1e-300))
    a = np.concatenate([relative / noise, np.diag(1 / sd)])
    b = np.concatenate([np.ones(len(terms)) / noise, prior / sd])
    scale = np.linalg.norm(a, axis=0)  # bytes and seconds differ by ten orders
    low = np.where(prior > 0, 0.0, -np.inf)
    solved = lsq_linear(a / scale, b, bounds=(low, np.inf))
    return np.asarray(solved.x / scale)


def _left_out(terms: Floats, measured_s: Floats, n_labels: int, noise: float) -> Floats:
    """(K,) seconds of each model by a composition of the others; of one alone, ops added up."""
    if len(terms) == 1:
        return np.asarray(terms[:, :n_labels].sum(axis=1))
    others = ~np.eye(len(terms), dtype=bool)
    solved = [_solve(terms[rest], measured_s[rest], n_labels, noise) for rest in others]
    return np.asarray((terms * np.stack(solved)).sum(axis=1))
