"""What measurements make of a cost's factor."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latprof.compress.methods._correction import corrected, smaller


def _tries(power: float, off: float, wanted: float = 1.0) -> list[tuple[float, float]]:
    """Until within 1.25% of what is wanted, six at most; a network is chosen to be predicted there,
    and takes ``off`` times as long to a power of the factor."""
    factor, tried = 1.0, list[tuple[float, float]]()
    while len(tried) < 6:
        tried.append((factor, wanted * off * factor**-power))
        if abs(tried[-1][1] / wanted - 1) < 0.0125:
            break
        factor = corrected(tried, wanted)
    return tried


@given(st.floats(0.9, 7.0), st.floats(0.7, 1.4))
def test_six_measurements_suffice_where_networks_are_off_by_different_parts(
    power: float, off: float
) -> None:
    assert abs(_tries(power, off)[-1][1] - 1) < 0.0125


@given(st.floats(0.75, 1.35))
def test_a_prediction_off_by_the_same_part_everywhere_is_right_at_once(off: float) -> None:
    assert len(_tries(1.0, off)) <= 2


def test_one_measurement_is_trusted_by_half_at_most() -> None:
    assert corrected([(1.0, 9.0)], 1.0) == pytest.approx(1.5)
    assert corrected([(2.0, 0.1)], 1.0) == pytest.approx(2 / 1.5)


@given(st.floats(0.15, 7.0), st.floats(1.05, 1.5))
def test_ever_smaller_networks_come_under_the_budget(power: float, off: float) -> None:
    """Six more measurements suffice, and each is of a smaller network than any before."""
    tried = [(f, off * f**-power) for f in (1.0, 1.02)]
    while tried[-1][1] > 1 and len(tried) < 8:
        factor = smaller(tried)
        tried.append((factor, off * factor**-power))
    factors = [factor for factor, _ in tried]
    assert all(a < b for a, b in itertools.pairwise(factors))
    assert tried[-1][1] <= 1
