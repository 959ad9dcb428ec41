"""Low rank and sparsity, alone and combined: costs, budgets, exact hardening, recipes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from support.compressor import EXAMPLE, batches, network, run, surrogate
from torch import Tensor, nn

from latprof import Compressor, Prune
from latprof.compress import (
    Latency,
    LowRank,
    Quantize,
    Sparse,
    TrainSettings,
    export,
    load_shrunk,
    recipe_of,
    shrink,
    trace,
    train,
)
from latprof.compress.cost._cost import Cost, LatencyCost, MacsCost
from latprof.compress.cost._weights import WeightsCost
from latprof.compress.export import node_bytes
from latprof.compress.shrink._factored import factored, split
from latprof.compress.space._space import Space, space_of
from latprof.errors import UsageError


class Wide(nn.Module):
    """Layers that are worth factoring, on maps that make them dear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, 2, 1)
        self.body = nn.Sequential(nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64))
        self.neck = nn.Conv2d(64, 64, 1)
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.neck(torch.relu(self.body(torch.relu(self.stem(x))))))
        return self.head(x.mean((2, 3)))


def wide() -> Wide:
    torch.manual_seed(2)
    model = Wide().train()
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(32, 1, 12, 12))
    return model.eval()


def make(model: nn.Module, budget: Any, *blocks: Any, steps: int = 40) -> Compressor:
    return Compressor(model, EXAMPLE, surrogate(), budget, blocks=blocks, steps=steps)


def trained(comp: Compressor) -> Compressor:
    run(comp, comp.steps, torch.optim.AdamW, 1e-2)
    assert comp.fixed
    return comp.eval()


def agree(comp: Compressor, small: nn.Module) -> None:
    x = torch.randn(64, 1, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(small(x), comp(x), rtol=1e-5, atol=1e-5)


def spaces() -> list[tuple[nn.Module, Space]]:
    found = []
    for model in (network(), wide()):
        blocks = [Prune(), LowRank()]
        space, _ = space_of(model, lambda e, m=model: trace(m, EXAMPLE, e), blocks)
        found.append((model, space))
    return found


@pytest.mark.parametrize(("model", "space"), spaces())
@pytest.mark.parametrize("seed", range(4))
def test_costs_are_those_of_the_shrunk_network(model: nn.Module, space: Space, seed: int) -> None:
    """MACs and parameters of the layers really built, ranks and widths drawn at random."""
    rng = np.random.default_rng(seed)
    graph = space.graph
    counts = graph.random_counts(rng)
    keeps = [torch.arange(g.size) < n for g, n in zip(graph.groups, counts, strict=True)]
    counts += [int(rng.integers(1, o.group.size // 4 + 1)) * 4 for o in space.ranks]
    of_kind: dict[str, Cost] = {
        "macs": MacsCost(space),
        "params": WeightsCost(space),
    }
    for kind, cost in of_kind.items():
        ranks = {o.layer.path: counts[o.group.index] for o in space.ranks}
        ranks = {path: ranks[path] for path in cost.paying(counts)}
        small = factored(shrink(model, graph, [k.float() for k in keeps]), ranks)
        stats = trace(small, EXAMPLE, probe=False).stats()
        assert cost.exact(counts) == pytest.approx(getattr(stats, kind), rel=1e-6)
        with torch.no_grad():
            smooth = float(cost(torch.tensor(counts, dtype=torch.float32)))
        assert smooth == pytest.approx(getattr(stats, kind), rel=1e-5)


def test_a_layer_costs_the_less_of_one_and_of_two() -> None:
    _, space = spaces()[1]
    cost = LatencyCost(space, surrogate())
    for share in (0.1, 0.3, 1.0):
        counts = [*space.graph.sizes, *(max(4, int(o.group.size * share)) for o in space.ranks)]
        ways = [
            float(surrogate().predict_model(space.workloads(counts, way)).latency_s)
            for way in ([], cost.paying(counts), [o.layer.path for o in space.ranks])
        ]
        assert ways[1] == pytest.approx(cost.exact(counts))
        assert ways[1] <= min(ways) + 1e-12


def test_svd_factors_are_the_best_of_their_rank() -> None:
    weight = torch.randn(12, 5, 3, 3)
    left, right = split(weight)
    torch.testing.assert_close((left @ right).view_as(weight), weight, rtol=1e-5, atol=1e-5)
    left, right = split(weight, 4)
    values = torch.linalg.svdvals(weight.flatten(1).double())
    error = (left @ right - weight.flatten(1)).double().norm()
    assert float(error) == pytest.approx(float(values[4:].norm()), rel=1e-5)


@pytest.mark.parametrize("blocks", [(LowRank(),), (Prune(exclude=("body",)), LowRank())])
def test_low_rank_lands_on_the_budget_and_hardens_exactly(
    blocks: tuple[Any, ...], tmp_path: Path
) -> None:
    model = wide()
    before = copy.deepcopy(model.state_dict())
    comp = make(model, "macs=45%", *blocks)
    with torch.no_grad():
        torch.testing.assert_close(comp.eval()(*EXAMPLE), wide()(*EXAMPLE), rtol=1e-5, atol=1e-5)
    assert list(model.state_dict()) == list(before)
    trained(comp)
    small = comp.shrink()
    agree(comp, small)
    stats = trace(small, EXAMPLE, probe=False).stats()
    goal = comp.goals.each[0]
    assert stats.macs <= goal.limit
    assert stats.macs == goal.cost.exact(comp.counts())
    pairs = {
        n
        for n, m in small.named_modules()
        if isinstance(m, nn.Sequential) and "reduce" in m._modules
    }
    assert pairs == set(comp.goals.paying(comp.counts()))
    assert pairs
    assert all(p.requires_grad for p in small.parameters())
    recipe = json.loads(json.dumps(recipe_of(wide(), small)))
    again = load_shrunk(wide(), recipe)
    again.load_state_dict(small.state_dict())
    x = torch.randn(3, 1, 12, 12)
    with torch.no_grad():
        assert torch.equal(again.eval()(x), small(x))
    session = onnxruntime.InferenceSession(export(small, EXAMPLE, tmp_path / "small.onnx"))
    (answer,) = session.run(None, {session.get_inputs()[0].name: x[:1].numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(answer), small(x[:1]), rtol=1e-5, atol=1e-5)


def test_a_rank_that_does_not_pay_leaves_the_layer_whole() -> None:
    """Where two ops always cost more than one, LowRank changes nothing and Prune does it all."""
    comp = trained(make(network(), "75%", Prune(), LowRank()))
    small = comp.shrink()
    paying = comp.goals.paying(comp.counts())
    for option in comp.space.ranks:
        if option.layer.path not in paying:
            assert type(small.get_submodule(option.layer.path)) in (nn.Conv2d, nn.Linear)
            assert comp.counts()[option.group.index] == option.group.size
    assert comp.budget_cost is not None
    assert comp.cost() <= comp.budget_cost


def test_low_rank_is_declined_where_no_rank_pays(caplog: pytest.LogCaptureFixture) -> None:
    blocks = [Prune(), LowRank()]
    comp = make(network(), "75%", *blocks)
    space, _ = space_of(network(), lambda e: trace(network(), EXAMPLE, e), blocks)
    cost = LatencyCost(space, surrogate())
    kept = {o.layer.path for o in comp.space.ranks}
    for option in space.ranks:
        counts, pays = list(space.sizes), False
        for rank in range(4, option.group.size + 1, 4):
            counts[option.group.index] = rank
            pays |= option.layer.path in cost.paying(counts)
        assert (option.layer.path in kept) == pays
        assert (option.layer.path in caplog.text) == (not pays)
    assert kept != {o.layer.path for o in space.ranks}


@pytest.mark.parametrize("blocks", [(), (Prune(),)])
@pytest.mark.parametrize("pattern", ["unstructured", "4x1"])
def test_sparsity_meets_a_budget_of_bytes(pattern: str, blocks: tuple[Any, ...]) -> None:
    comp = trained(make(wide(), "bytes=50%", *blocks, Sparse(pattern=pattern)))
    small = comp.shrink()
    agree(comp, small)
    goal = comp.goals.each[0]
    sparse = {o.layer.weight for o in comp.space.sparse}
    taken = 0.0
    for name, p in small.named_parameters():
        ones = int((p != 0).sum())
        thin = 4 * ones + p.numel() / 8 + node_bytes("float32", 32, sparse=True)
        taken += min(thin, 4 * p.numel()) if name in sparse else 4 * p.numel()
    assert taken <= goal.limit * 1.02
    assert taken == pytest.approx(goal.cost.exact(comp.counts()), rel=0.02)
    if blocks:
        return
    weight = small.get_parameter("body.0.weight")
    zeros = weight == 0
    assert 0 < int(zeros.sum()) < weight.numel()
    train(comp, batches(), TrainSettings(1, lr=1e-2))  # the same loop fine-tunes
    assert torch.equal(comp.shrink().get_parameter("body.0.weight") == 0, zeros)
    if pattern == "4x1":
        tiles = (weight.flatten(1).unflatten(0, (-1, 4)) != 0).sum(1)
        assert set(tiles.unique().tolist()) <= {0, 4}


def test_a_fixed_pattern_keeps_n_of_m() -> None:
    comp = trained(
        make(
            wide(), "75%", Prune(exclude=("stem",)), Sparse(pattern="2:4", layers=("neck", "head"))
        )
    )
    small = comp.shrink()
    agree(comp, small)
    for name in ("neck", "head"):  # of one place each
        left = small.get_parameter(f"{name}.weight")
        assert int((left.flatten(1).unflatten(1, (-1, 4)) != 0).sum(-1).max()) <= 2


@pytest.mark.parametrize("blocks", [(), (Prune(),), (Prune(), Sparse())])
def test_bits_are_learnt_and_harden_to_integers(blocks: tuple[Any, ...]) -> None:
    comp = make(wide(), "bytes=15%", *blocks, Quantize(bits=(2, 4, 8)))
    with torch.no_grad():
        torch.testing.assert_close(comp.eval()(*EXAMPLE), wide()(*EXAMPLE), rtol=1e-6, atol=1e-6)
    trained(comp)
    train(comp, batches(), TrainSettings(1, lr=1e-2))  # the same loop fine-tunes
    small = comp.eval().shrink()
    agree(comp, small)
    goal = comp.goals.each[0]
    assert goal.cost.exact(comp.counts()) <= goal.limit
    widths = set()
    for option, module in zip(comp.space.bits, comp.weights.bits, strict=True):
        level = comp.counts()[option.group.index] - 1
        if level == len(module.widths):
            continue  # left as it was
        widths.add(module.widths[level])
        beta = (torch.arange(len(module.widths) + 1) <= level).float()
        low, high = module.ranges(beta)[level].detach()
        weight = small.get_parameter(option.layer.weight).detach()
        place = weight / (high.clamp_min(0) - low.clamp_max(0)) * (2 ** module.widths[level] - 1)
        torch.testing.assert_close(place, place.round(), rtol=0, atol=2e-3)
        assert place.max() - place.min() < 2 ** module.widths[level] - 0.5
    assert widths


def test_several_budgets_hold_at_once() -> None:
    comp = trained(make(wide(), ["80%", "params=50%", "macs=70%"], Prune()))
    counts = comp.counts()
    for goal in comp.goals.each:
        assert goal.cost.exact(counts) <= goal.limit * 1.001
    assert any(goal.cost.exact(counts) > 0.9 * goal.limit for goal in comp.goals.each)


def test_two_targets_have_a_budget_each() -> None:
    both = {"phone": Latency(surrogate(), 9e-3), "server": Latency(surrogate(), 1e-3)}
    comp = Compressor(wide(), EXAMPLE, both, ["phone=80%", "server=60%"], steps=40)
    run(comp, 40, torch.optim.AdamW, 1e-2)
    phone, server = comp.goals.each
    assert (phone.limit, server.limit) == (pytest.approx(7.2e-3), pytest.approx(0.6e-3))
    assert server.cost.exact(comp.counts()) <= server.limit * 1.001


@pytest.mark.parametrize(
    ("blocks", "budget", "match"),
    [
        ((Sparse(),), "75%", "Sparse cannot pay here"),
        ((), "75%", "blocks are none; expected at least one"),
        ((Prune(), Prune()), "75%", "each kind once"),
        ((LowRank(layers=("nowhere.*",)),), "75%", "LowRank finds no layer under nowhere"),
        ((Quantize(),), "75%", "Quantize cannot pay here"),
        ((LowRank(), Sparse()), "bytes=50%", "is under LowRank and Sparse"),
        ((Prune(),), "phone=5 ms", "expected one of latency, macs, params, bytes"),
    ],
)
def test_what_cannot_pay_is_refused(blocks: tuple[Any, ...], budget: str, match: str) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        make(wide(), budget, *blocks)
    assert "\n" not in str(caught.value)


def test_tied_weights_are_left_alone() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = (nn.Linear(16, 16) for _ in range(3))
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.third(torch.relu(self.second(torch.relu(self.first(x)))))
            return found

    example = (torch.zeros(1, 16),)
    space, _ = space_of(Tied(), lambda e: trace(Tied(), example, e), [Prune(), LowRank()])
    assert [o.layer.path for o in space.ranks] == ["third"]


@pytest.mark.parametrize("pattern", ["3", "4:2", "0x4", "some"])
def test_unknown_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="expected unstructured, blocks like 4x4, or N:M"):
        Sparse(pattern=pattern)


def test_an_interrupted_low_rank_run_goes_on(tmp_path: Path) -> None:
    def build() -> Compressor:
        return make(wide(), "macs=50%", Prune(), LowRank())

    whole, resumed = build(), build()
    run(whole, 40, torch.optim.SGD, 1e-2)
    half = build()
    optimizer = torch.optim.SGD(half.parameters(), lr=1e-2)
    done = 0
    for epoch in (0, 10, 20, 30):
        for x, y in batches().epoch(epoch):
            loss = nn.functional.cross_entropy(half(x), y) + half.penalty()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            half.step()
            done += 1
            if done == 17:
                torch.save(half.state_dict(), tmp_path / "half")
                half = resumed
                half.load_state_dict(torch.load(tmp_path / "half", weights_only=True))
                optimizer = torch.optim.SGD(half.parameters(), lr=1e-2)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
