"""What Workload promises, of every kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latprof.errors import UsageError
from latprof.workloads import (
    DTYPE_BYTES,
    ELEMENTWISE_OPS,
    POOL_OPS,
    Attention,
    Conv2d,
    Elementwise,
    MatMul,
    Pool,
    Workload,
    workload_from_dict,
)

_SIZES = st.integers(1, 40)
_DTYPES = st.sampled_from(sorted(DTYPE_BYTES))


@st.composite
def _convolutions(draw: st.DrawFn) -> Workload:
    groups = draw(st.integers(1, 4))
    c_in, c_out = (groups * draw(st.integers(1, 10)) for _ in range(2))
    return Conv2d(
        *(draw(_SIZES) for _ in range(2)), c_in, c_out, draw(st.sampled_from((1, 3, 5))),
        stride=draw(st.integers(1, 2)), groups=groups, dtype=draw(_DTYPES),
    )  # fmt: skip


@st.composite
def _attentions(draw: st.DrawFn) -> Workload:
    queries, more = draw(_SIZES), draw(st.integers(0, 40))
    return Attention(
        *(draw(_SIZES), queries, queries + more, draw(_SIZES), draw(st.integers(1, 4))),
        causal=draw(st.booleans()), window=draw(st.integers(0, 90)), batch=draw(_SIZES),
        dtype=draw(_DTYPES),
    )  # fmt: skip


_WORKLOADS = st.one_of(
    _convolutions(),
    _attentions(),
    st.builds(MatMul, _SIZES, _SIZES, _SIZES, _SIZES, st.booleans(), _DTYPES),
    st.builds(Elementwise, st.sampled_from(ELEMENTWISE_OPS), _SIZES, _SIZES, _SIZES, _SIZES),
    st.builds(Pool, st.sampled_from(POOL_OPS), _SIZES, _SIZES, _SIZES, st.just(3)),
)


@given(_WORKLOADS, st.integers(1, 4))
def test_a_workload_keeps_its_promises(workload: Workload, times: int) -> None:
    assert workload_from_dict(workload.to_dict()) == workload
    assert workload.with_channels(*workload.channels) == workload
    wider = workload.with_channels(*(times * count for count in workload.channels))
    assert wider.family == workload.family
    assert wider.label == workload.label
    for name in ("macs", "weight_bytes", "activation_bytes"):
        assert getattr(wider, name) >= getattr(workload, name) >= 0


@given(_attentions())
def test_pairs_of_attention_are_those_that_a_mask_leaves(attention: Attention) -> None:
    w, late = attention, attention.keys - attention.queries
    most = w.window or w.keys
    seen = [
        [k for k in range(w.keys) if not w.causal or q + late - most < k <= q + late]
        for q in range(w.queries)
    ]
    if not w.causal:
        seen = [keys[:most] for keys in seen]
    assert w.pairs == sum(map(len, seen))
    assert w.macs == 2 * w.batch * w.heads * w.head_dim * w.pairs


def test_heads_that_share_keys_and_values() -> None:
    whole = Attention(heads=8, queries=1, keys=64, head_dim=32)
    shared = Attention(heads=8, queries=1, keys=64, head_dim=32, heads_per_kv=4)
    assert (whole.kv_heads, shared.kv_heads) == (8, 2)
    assert shared.with_channels(5, 5).kv_heads == 2
    assert whole.macs == shared.macs
    assert shared.activation_bytes == 4 * 32 * 2 * (8 + 2 * 64)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"heads": 0}, "heads is 0"),
        ({"window": -1}, "window is -1; expected a whole number of keys"),
        ({"queries": 65, "causal": True}, "65 causal queries of 64 keys"),
        ({"dtype": "fp8"}, "dtype is 'fp8'"),
    ],
)
def test_attention_that_cannot_be(changed: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Attention(**{"heads": 8, "queries": 1, "keys": 64, "head_dim": 32, **changed})  # type: ignore[arg-type]
