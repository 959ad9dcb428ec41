"""Budgets, counts, the controller and the choice of channels: arithmetic with laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from support.training import Plain, fake_surrogate
from torch import nn

from latprof.compress import Compressor, Sparse
from latprof.compress.cost._budget import Budget, FeasibleRange
from latprof.compress.methods._schedule import Schedule
from latprof.compress.methods._select import kept_importance, n_of_m, select
from latprof.compress.methods._steering import steer
from latprof.compress.space._counts import COUNTS, soft_counts
from latprof.errors import InfeasibleBudgetError, UsageError


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [("5 ms", 5e-3), ("2500us", 2.5e-3), ("0.005 s", 5e-3), ("60%", 6e-3), (0.004, 4e-3)],
)
def test_budgets_as_people_write_them(text: str, expected_s: float) -> None:
    assert Budget.parse(text).resolve(FeasibleRange(1e-3, 10e-3)) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("text", "kind", "limit"),
    [
        ("lowest", "latency", 200.0),
        ("bytes=lowest", "bytes", 110.0),
        ("macs=lowest", "macs", 110.0),
    ],
)
def test_the_lowest_is_little_above_what_can_be_reached(text: str, kind: str, limit: float) -> None:
    budget = Budget.parse(text)
    assert budget.kind == kind
    assert budget.is_lowest
    assert budget.resolve(FeasibleRange(100.0, 1100.0)) == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "kind", "limit"),
    [
        ("macs=50%", "macs", 5e6),
        ("params = 1.2M", "params", 1.2e6),
        ("bytes=4MB", "bytes", 4e6),
        ("bytes=2KiB", "bytes", 2048),
        ("pixel6=3 ms", "pixel6", 3e-3),
    ],
)
def test_budgets_of_other_kinds(text: str, kind: str, limit: float) -> None:
    budget = Budget.parse(text)
    assert (budget.kind, budget.limit(1e7)) == (kind, pytest.approx(limit))


@pytest.mark.parametrize(
    "text",
    [
        "macs=5 ms",
        "bytes=4 furlongs",
        "params=-1",
        "",
        "fast",
        "-5 ms",
        "0%",
        "5 furlongs",
        "1.2.3 ms",
    ],
)
def test_nonsense_is_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="expected a latency like '5 ms'") as caught:
        Budget.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "question"),
    [("60", "60 s or 60%"), ("0.005", "0.005 s or 0.005%"), ("pixel6=5", "expected 'pixel6=5 s'")],
)
def test_a_latency_without_a_unit_is_asked_about(text: str, question: str) -> None:
    with pytest.raises(UsageError, match=question):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["100%", "11 ms", "9%", "0.5 ms"])
def test_infeasible_budgets_say_what_is_reachable(text: str) -> None:
    with pytest.raises(InfeasibleBudgetError, match=r"reachable: 1\.00 ms to 10\.0 ms"):
        Budget.parse(text).resolve(FeasibleRange(1e-3, 10e-3))


@given(least=st.floats(1e-6, 0.99))
@example(least=0.029)  # 1000 times that is less than 29, as floats
def test_the_share_that_is_called_reachable_is(least: float) -> None:
    feasible = FeasibleRange(least, 1.0)
    with pytest.raises(InfeasibleBudgetError) as refused:
        Budget.parse(f"{0.999 * least} s").resolve(feasible)
    share = str(refused.value).rpartition("(")[2].partition(" ")[0]
    assert least <= Budget.parse(share).resolve(feasible) <= least + 1.1e-3


masks = st.lists(st.floats(0, 2), min_size=1, max_size=40).filter(lambda a: max(a) > 1e-3)


@given(st.lists(masks, min_size=1, max_size=5))
def test_counts_lie_where_the_theory_says(groups: list[list[float]]) -> None:
    alpha = torch.tensor([a for g in groups for a in g], dtype=torch.float64)
    sizes = torch.tensor([len(g) for g in groups], dtype=torch.float64)
    segment = torch.arange(len(groups)).repeat_interleave(sizes.long())
    l1l2 = soft_counts(alpha, segment, sizes, "l1l2")
    hoyer = soft_counts(alpha, segment, sizes, "hoyer_square")
    slack = 1e-9
    assert torch.all(l1l2 >= sizes.sqrt() - slack)
    assert torch.all(l1l2 <= sizes + slack)
    assert torch.all(hoyer >= 1 - slack)
    true = torch.tensor([sum(a > 0 for a in g) for g in groups])
    assert torch.all(hoyer <= true + slack)
    assert torch.allclose(l1l2, (sizes * hoyer).sqrt())


@given(st.integers(1, 64), st.integers(0, 63), st.floats(0.01, 10))
def test_equal_masks_count_exactly(size: int, removed: int, height: float) -> None:
    kept = max(1, size - removed)
    alpha = torch.zeros(size, dtype=torch.float64)
    alpha[:kept] = height
    segment, sizes = torch.zeros(size, dtype=torch.int64), torch.tensor([float(size)]).double()
    assert soft_counts(alpha, segment, sizes, "hoyer_square").item() == pytest.approx(kept)
    assert soft_counts(alpha, segment, sizes, "l1l2").item() == pytest.approx((size * kept) ** 0.5)


@pytest.mark.parametrize("kind", COUNTS)
def test_count_gradients(kind: str) -> None:
    alpha = torch.rand(12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    segment, sizes = torch.tensor([0] * 5 + [1] * 7), torch.tensor([5.0, 7.0], dtype=torch.float64)
    alpha.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: soft_counts(a, segment, sizes, kind), (alpha,))


def test_every_group_counts_in_its_own_way() -> None:
    alpha = torch.rand(12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    segment, sizes = torch.tensor([0] * 5 + [1] * 7), torch.tensor([5.0, 7.0], dtype=torch.float64)
    alone = [soft_counts(alpha, segment, sizes, kind) for kind in COUNTS]
    for first in range(3):
        for second in range(3):
            mixed = soft_counts(alpha, segment, sizes, torch.tensor([first, second]))
            assert mixed.tolist() == [alone[first][0], alone[second][1]]


def test_lambda_grows_above_the_target_and_falls_below_it() -> None:
    assert steer(1.0, 0.1, 100) > 1.0
    assert steer(1.0, -0.1, 100) < 1.0
    assert steer(1.0, 0.0, 100) == 1.0


def test_the_target_falls_linearly_and_is_reached_before_the_end() -> None:
    schedule = Schedule(100)
    due = [schedule.progress(step) for step in range(schedule.warm_up, 101)]
    assert (due[0], due[-1]) == (0.0, 1.0)
    assert due == sorted(due)
    assert due[36] == pytest.approx(0.5)  # 90 steps in which masks move, 80% of them on the way
    assert due.index(1.0) == 72


@pytest.mark.parametrize("steps", [0, -3, 3.7, True])
def test_a_length_that_cannot_be_is_refused(steps: int) -> None:
    with pytest.raises(UsageError, match=f"steps is {steps}; expected a whole number"):
        Schedule(steps)


@given(st.lists(st.floats(0, 1), min_size=8, max_size=8), st.integers(1, 3))
def test_n_of_m_keeps_the_best_of_every_block(importance: list[float], n: int) -> None:
    value = torch.tensor(importance)
    keep = n_of_m(value.view(1, 8, 1), n, 4)
    for block, kept in zip(value.view(-1, 4), keep.view(-1, 4), strict=True):
        assert int(kept.sum()) == n
        assert block[kept].min() >= block[~kept].max()


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 0.95))
def test_selection_fits_the_budget_and_leaves_no_room(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 40, size=4)
    price = rng.uniform(0.1, 1.0, size=4)
    importance = [rng.exponential(size=n) for n in sizes]
    choices = [list(range(1, n + 1)) for n in sizes]

    def latency_s(counts: np.ndarray) -> np.ndarray:
        return 1 + counts @ price

    least = latency_s(np.ones(4))
    budget_s = float(least + share * (latency_s(sizes) - least))
    counts = np.array(
        select([kept_importance(i) for i in importance], choices, latency_s, budget_s)
    )
    assert latency_s(counts) <= budget_s
    for group in range(4):
        if counts[group] < sizes[group]:
            wider = counts + np.eye(4, dtype=int)[group]
            assert latency_s(wider) > budget_s


@pytest.mark.parametrize(
    ("text", "rows", "expected_s"),
    [("500/s", 1, 2e-3), ("500/s", 16, 32e-3), ("1.5k/s", 3, 2e-3), ("pixel6=1e3 /s", 4, 4e-3)],
)
def test_a_throughput_is_what_a_batch_may_take(text: str, rows: int, expected_s: float) -> None:
    budget = Budget.parse(text)
    assert not budget.is_lowest
    assert budget.at_batch(rows).resolve(FeasibleRange(1e-3, 1.0)) == pytest.approx(expected_s)


def test_a_throughput_is_at_the_batch_of_the_example_inputs() -> None:
    inputs = (torch.zeros(8, 16),)
    surrogate = fake_surrogate(Plain(), inputs)
    original_s = Compressor(Plain(), inputs, surrogate, "99%").original_cost
    asked = 1.5 * 8 / original_s
    comp = Compressor(Plain(), inputs, surrogate, f"{asked:.3f}/s")
    assert comp.budget_cost == pytest.approx(original_s / 1.5, rel=1e-4)
    with pytest.raises(UsageError, match="expected a latency like"):
        Budget.parse("macs=500/s")


def test_the_lowest_is_approached_by_equal_factors() -> None:
    """So that a tenth is half of the way to a hundredth."""
    comp = Compressor(nn.Sequential(nn.Linear(64, 64)), torch.zeros(1, 64), None, "params=lowest",
                      blocks=[Sparse()])  # fmt: skip
    goal = comp.goals.of("params")
    assert goal is not None
    assert goal.target(0.0) == goal.original
    assert goal.target(1.0) == pytest.approx(goal.limit)
    factors = [goal.target((n + 1) / 4) / goal.target(n / 4) for n in range(4)]
    assert factors == pytest.approx([factors[0]] * 4)
    assert goal.limit < 0.05 * goal.original
