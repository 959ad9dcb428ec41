"""The counts that a projection chooses among."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latprof.compress.graph import Group
from latprof.compress.methods import candidates


def group(size: int, divisor: int = 1, minimum: int = 1) -> Group:
    return Group(0, "g", size, 1, minimum, divisor, True, "", (), ())


@given(st.integers(1, 500_000), st.sampled_from([1, 2, 4, 8, 16]), st.data())
def test_they_are_what_the_group_may_have(size: int, divisor: int, data: st.DataObject) -> None:
    minimum = data.draw(st.integers(0 if size == 1 else 1, size))
    found = candidates(group(size, divisor, minimum))
    assert found == sorted(set(found))
    assert found[-1] == size
    assert found[0] >= minimum
    assert all(count % divisor == 0 for count in found[:-1])
    assert len(found) < 100


@pytest.mark.parametrize("size", [10_000, 400_000, 10_000_000])
def test_few_weights_of_many_are_among_them(size: int) -> None:
    found = candidates(group(size))
    assert found[0] == 1
    few = [count for count in found if 10 <= count <= size / 30]
    assert all(b <= 1.5 * a for a, b in itertools.pairwise(few))


def test_a_gate_is_open_or_shut() -> None:
    assert candidates(group(1, 1, 0)) == [0, 1]
