"""Masks in the user's own loop: budget, exactness, resuming, and what is refused."""

from __future__ import annotations

import copy
import itertools
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from support.compressor import EXAMPLE, Net, batches, network, run, surrogate
from support.training import EXAMPLE as PLAIN_EXAMPLE
from support.training import Plain, fake_surrogate
from torch import nn

from latprof import Compressor, Prune
from latprof.compress import (
    Goals,
    Latency,
    LowRank,
    Quantize,
    Sparse,
    Tick,
    TrainSettings,
    load_shrunk,
    recipe_of,
    status,
    trace,
    train,
)
from latprof.compress.masks import UnitMasks
from latprof.compress.methods import HIGH, MAX_MEASUREMENTS, Regularizer
from latprof.devices._fake import FakeDevice
from latprof.errors import InfeasibleBudgetError, UsageError

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("count", ["l1l2", "hoyer_square", "l1"])
def test_users_own_loop_lands_on_the_budget(
    optimizer: type[torch.optim.Optimizer], count: str
) -> None:
    comp = Compressor(network(), EXAMPLE, surrogate(), "75%", blocks=[Prune(count=count)], steps=60)
    run(comp, 70, optimizer, 1e-2)
    assert comp.fixed
    assert comp.cost() <= comp.budget_cost
    assert comp.penalty() == 0
    small = comp.shrink()
    assert type(small) is Net
    x = torch.randn(64, 1, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(small(x), comp.eval()(x), rtol=1e-5, atol=1e-5)
    assert {type(m) for m in small.modules()} <= {type(m) for m in Net().modules()}
    for width in comp.widths():
        assert width["after"] % 4 == 0


def test_masks_start_as_the_identity_and_leave_the_model_alone() -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    comp = Compressor(model, EXAMPLE, surrogate(), "75%", steps=60).eval()
    x = torch.randn(8, 1, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(comp(x), model(x), rtol=0, atol=0)
    assert list(model.state_dict()) == list(before)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_penalty_has_the_gradient_of_its_value() -> None:
    comp = Compressor(network(), EXAMPLE, surrogate(), "75%", steps=60)
    with torch.no_grad():
        comp.alpha.copy_(
            torch.rand(len(comp.alpha), generator=torch.Generator().manual_seed(0)) + 0.2
        )
        comp.regularizer.weight.fill_(3.0)
    comp.penalty().backward()  # type: ignore[no-untyped-call]
    grad = comp.alpha.grad
    assert grad is not None
    direction, step = torch.randn_like(grad), 1e-3
    values = []
    for sign in (1, -1):
        moved = copy.deepcopy(comp)
        with torch.no_grad():
            moved.alpha.add_(sign * step * direction)
        values.append(float(moved.penalty().detach()))
    slope = (values[0] - values[1]) / (2 * step)
    assert slope == pytest.approx(float(grad @ direction), rel=0.05, abs=1e-3)


def test_between_evaluations_the_penalty_is_its_tangent(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a long run the cost is evaluated every few steps, and stays within 0.1% meanwhile."""

    def build() -> Compressor:
        return Compressor(network(), EXAMPLE, surrogate(), "75%", steps=4000)

    comp = build()
    comp.steps_taken.fill_(2000)
    evaluated: list[Regularizer] = []
    relative = Regularizer._evaluate

    def evaluate(regularizer: Regularizer, masks: UnitMasks, goals: Goals) -> None:
        evaluated.append(regularizer)
        relative(regularizer, masks, goals)

    monkeypatch.setattr(Regularizer, "_evaluate", evaluate)
    optimizer = torch.optim.SGD(comp.parameters(), lr=1e-2)
    steps = 0
    for x, y in itertools.chain.from_iterable(batches().epoch(n) for n in range(4)):
        loss = nn.functional.cross_entropy(comp(x), y) + comp.penalty()
        exact = copy.deepcopy(comp)
        exact.regularizer.expire()
        with torch.no_grad():
            torch.testing.assert_close(comp.penalty(), exact.penalty(), rtol=1e-3, atol=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        comp.step()
        steps += 1
    assert 1 < sum(each is comp.regularizer for each in evaluated) < steps / 4
    resumed = build()
    resumed.load_state_dict(comp.state_dict())
    assert torch.equal(resumed.penalty(), comp.penalty())


def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    def build() -> Compressor:
        return Compressor(network(), EXAMPLE, surrogate(), "75%", steps=40)

    whole = build()
    train(whole, batches(), TrainSettings(5, lr=1e-2))

    class Killed(Exception):
        pass

    path = tmp_path / "masks.checkpoint"
    for stop in (7, 23, 41, None):

        def on_tick(tick: Tick, stop: int | None = stop) -> None:
            if tick.step == stop:
                raise Killed

        resumed = build()
        try:
            train(
                resumed,
                batches(),
                TrainSettings(5, lr=1e-2),
                checkpoint=path,
                on_tick=on_tick,
                save_every_s=0,
            )
        except Killed:
            continue
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "masks.checkpoint"
    train(Net(), batches(), TrainSettings(1), checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"masks.checkpoint is of another network.*another folder"):
        train(nn.Linear(2, 2), batches(), TrainSettings(1), checkpoint=path)
    assert path.read_bytes() == before


def test_measurement_decides_not_the_prediction() -> None:
    """A target 30% slower than the surrogate believes, at small widths only."""
    asked: list[float] = []

    def measure(small: nn.Module) -> float:
        predicted = surrogate().predict_model(trace(small, EXAMPLE).workloads())
        asked.append(1.3 * float(predicted.latency_s))
        return asked[-1]

    comp = Compressor(network(), EXAMPLE, Latency(surrogate(), measure=measure), "75%", steps=40)
    run(comp, 40, torch.optim.AdamW, 1e-2)
    assert len(asked) > 1
    assert asked[-1] <= comp.budget_cost


def test_a_measurement_that_was_misled_does_not_decide() -> None:
    """Twice a timing comes out far too short; the network that is kept is one that met its budget,
    or the fastest where none did."""
    true: list[float] = []

    def measure(small: nn.Module) -> float:
        predicted = surrogate().predict_model(trace(small, EXAMPLE).workloads())
        true.append(1.3 * float(predicted.latency_s))
        return true[-1] * (0.2 if len(true) in (1, 6) else 1.0)

    comp = Compressor(network(), EXAMPLE, Latency(surrogate(), measure=measure), "75%", steps=40)
    run(comp, 40, torch.optim.AdamW, 1e-2)
    assert len(true) > 1
    kept = surrogate().predict_model(trace(comp.shrink(), EXAMPLE).workloads())
    assert 1.3 * float(kept.latency_s) <= 1.01 * comp.budget_cost


def test_networks_get_smaller_until_one_is_within_the_budget() -> None:
    """A device with a fixed part in every latency, which the surrogate does not know: six
    corrections do not suffice."""
    with FakeDevice(seed=3, stair=8) as device:  # that of the surrogate's table
        original_s = _on(device, network())
        fixed_s = original_s
        asked: list[float] = []

        def measure(small: nn.Module) -> float:
            asked.append(fixed_s + _on(device, small))
            return asked[-1]

        latency = Latency(surrogate(), original_s + fixed_s, measure)
        comp = Compressor(network(), EXAMPLE, latency, "85%", steps=40)
        run(comp, 40, torch.optim.AdamW, 1e-2)
        limit_s = 0.85 * (original_s + fixed_s)
        assert min(asked[:MAX_MEASUREMENTS]) > limit_s
        assert len(asked) <= 2 * MAX_MEASUREMENTS
        assert fixed_s + _on(device, comp.shrink()) <= HIGH * limit_s


def _on(device: FakeDevice, model: nn.Module) -> float:
    """Seconds of a network's operations by the device's law."""
    return sum(device.law_s(w) for w in trace(model.eval(), EXAMPLE).workloads())


@pytest.mark.parametrize("budget", ["100%", "1%", "9 s"])
def test_infeasible_budgets_are_refused_before_training(budget: str) -> None:
    with pytest.raises(InfeasibleBudgetError, match="reachable: "):
        Compressor(network(), EXAMPLE, surrogate(), budget)


def test_unknown_counts_and_starts_are_refused() -> None:
    with pytest.raises(UsageError, match="expected one of hoyer_square, l1, l1l2"):
        Prune(count="l0")
    with pytest.raises(UsageError, match="expected importance, one or uniform"):
        Prune(init="zero")


def test_a_group_about_to_vanish_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    comp = Compressor(network(), EXAMPLE, None, "macs=12%", steps=60)
    run(comp, 60, torch.optim.AdamW, 1e-2)
    named = [r.getMessage() for r in caplog.records if "keeps the network whole" in r.getMessage()]
    bare = comp.space.bare(comp.counts())
    assert bare
    for group in bare:
        assert sum(f"{group.name} ({group.minimum} of" in text for text in named) == 1
    assert all("\n" not in text for text in named)


def test_a_state_dict_with_former_names_is_loaded() -> None:
    """Half of a mask phase, saved when masks and lambda had other names."""
    former = torch.load(GOLDEN / "compressor_former.pt", weights_only=True)
    comp = Compressor(Plain(), PLAIN_EXAMPLE, None, "macs=60%", steps=60)
    missing, unexpected = comp.load_state_dict(former, strict=False)
    assert not unexpected
    assert all(name.startswith(("model.", "goals.")) for name in missing)  # they are not in it
    assert int(comp.steps_taken) == 30
    assert float(comp.regularizer.weight) == pytest.approx(0.001360293, rel=1e-6)
    assert float(comp.penalty().detach()) == pytest.approx(0.00092268, rel=1e-5)
    assert not torch.equal(comp.masks.start, torch.ones(len(comp.alpha)))
    holder = nn.ModuleDict({"net": Compressor(Plain(), PLAIN_EXAMPLE, None, "macs=60%", steps=60)})
    holder.load_state_dict({f"net.{name}": value for name, value in former.items()}, strict=False)
    for name, value in comp.masks.state_dict().items():
        assert torch.equal(holder["net"].masks.state_dict()[name], value)


def test_costs_carry_their_unit() -> None:
    of_macs = Compressor(Plain(), PLAIN_EXAMPLE, None, ["macs=60%", "params=80%"])
    assert (of_macs.cost_unit, of_macs.original_cost) == ("MACs", 16 * 48 + 48 * 64 + 64 * 4)
    assert of_macs.budget_cost == pytest.approx(0.6 * of_macs.original_cost)
    assert set(status(of_macs)) == {"cost", "budget_cost", "penalty_weight", "channels"}
    of_bytes = Compressor(Plain(), PLAIN_EXAMPLE, None, "bytes=60%")
    assert (of_bytes.cost_unit, of_bytes.cost()) == ("bytes", of_bytes.original_cost)
    in_seconds = Compressor(network(), EXAMPLE, Latency(surrogate(), original_s=2.0), "params=80%")
    assert (in_seconds.cost_unit, in_seconds.budget_cost) == ("s", None)
    assert in_seconds.original_cost == pytest.approx(2.0)
    assert set(status(in_seconds)) == {"latency_s", "penalty_weight", "channels"}


@pytest.mark.parametrize("layer", [nn.Linear(16, 32), nn.Conv2d(16, 32, 1)])
def test_a_model_of_one_layer(layer: nn.Module) -> None:
    """Its channels are the model's own inputs and outputs; its weight may be made smaller."""
    x = torch.randn(2, 16) if isinstance(layer, nn.Linear) else torch.randn(2, 16, 3, 3)
    with pytest.raises(InfeasibleBudgetError, match="less than the least that these blocks reach"):
        Compressor(copy.deepcopy(layer), x, None, "macs=50%")
    tries = [("macs=60%", LowRank()), ("params=50%", Sparse()), ("bytes=40%", Quantize())]
    for budget, block in tries:
        comp = Compressor(copy.deepcopy(layer), x, None, budget, blocks=[block], steps=4)
        comp.fix()
        with torch.no_grad():
            torch.testing.assert_close(comp.shrink()(x), comp(x), rtol=1e-5, atol=1e-5)
        assert comp.budget_ratio() <= 1
        small = comp.shrink()
        again = load_shrunk(copy.deepcopy(layer), recipe_of(comp.model, small))
        again.load_state_dict(small.state_dict())
        assert torch.equal(again(x), small(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_bit_widths_of_half_precision_are_computed_in_more(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4)).to(dtype)
    x = torch.randn(4, 16).to(dtype)
    comp = Compressor(model, x, None, "bytes=30%", blocks=[Quantize()], steps=4)
    with torch.no_grad():
        assert comp(x).dtype == dtype
        torch.testing.assert_close(comp(x), model(x), rtol=0.02, atol=0.02)


@torch.library.custom_op("latprof_test::mixed", mutates_args=())
def mixed(x: torch.Tensor) -> torch.Tensor:
    """An op of another library: nothing says how much it computes."""
    return x @ torch.ones(x.shape[-1], x.shape[-1])


@mixed.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Foreign(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(mixed(self.second(torch.relu(self.first(x)))))
        return out


def test_a_budget_that_ops_in_no_figure_would_break_is_refused() -> None:
    x = torch.randn(2, 8)
    with pytest.raises(UsageError, match=r"macs=80% cannot be kept: what mixed of Foreign compute"):
        Compressor(Foreign(), x, None, "macs=80%")
    with pytest.raises(UsageError, match=r"budget 80% cannot be kept: .*Latency\(surrogate, measu"):
        Compressor(Foreign(), x, surrogate(), "80%")
    comp = Compressor(Foreign(), x, None, "params=80%")
    assert comp.budget_ratio() > 1


def test_ops_that_are_in_no_prediction_are_named(caplog: pytest.LogCaptureFixture) -> None:
    class Summed(Plain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).cumsum(-1)

    Compressor(Summed(), PLAIN_EXAMPLE, fake_surrogate(Plain(), PLAIN_EXAMPLE), "80%")
    (text,) = (r.getMessage() for r in caplog.records if "cumsum" in r.getMessage())
    assert text.startswith("Summed: ")
    assert "\n" not in text


def test_the_example_in_the_help_runs() -> None:
    text = Compressor.__doc__
    assert text is not None
    code = textwrap.dedent(text[text.index("        import torch\n") :].split("\n\n    After")[0])
    known: dict[str, Any] = {}
    exec(code, known)
    assert known["comp"].fixed
    assert known["comp"].cost() <= known["comp"].budget_cost


def test_groups_at_their_minimum_are_named_by_the_run_and_not_by_a_trial(
    caplog: pytest.LogCaptureFixture,
) -> None:
    probe = Compressor(network(), EXAMPLE, surrogate(), "75%", steps=60)
    least = probe.cost_model.feasible_range().least
    comp = Compressor(network(), EXAMPLE, surrogate(), 1.02 * least, steps=60)
    comp.snapshot(1.0)
    assert "down to the least" not in caplog.text
    comp.fix()
    assert "down to the least" in caplog.text


def test_masks_are_fixed_at_a_share_of_the_way(caplog: pytest.LogCaptureFixture) -> None:
    comp = Compressor(network(), EXAMPLE, surrogate(), "lowest", steps=60)
    least, original = (getattr(comp.cost_model.feasible_range(), n) for n in ("least", "original"))
    assert comp.budget_cost == pytest.approx(least + 0.1 * (original - least))
    state = copy.deepcopy(comp.state_dict())
    costs = []
    for progress in (0.25, 0.5, 1.0):
        comp.load_state_dict(state)
        comp.fix(progress)
        target = original - progress * (original - comp.budget_cost)
        costs.append(comp.cost())
        assert 0.7 * target < costs[-1] <= target
        assert comp.fixed
    assert costs == sorted(costs, reverse=True)
    assert "down to the least" not in caplog.text, "the lowest asks for it"
