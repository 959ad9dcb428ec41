"""The memory of a network: its plan against a direct count of what is held, on random networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from latprof import Compressor
from latprof.compress import Prune
from latprof.compress.cost import Budget, Goals, MemoryCost, largest
from latprof.compress.shrink import shrink
from latprof.compress.space import space_of
from latprof.compress.trace import trace
from latprof.errors import InfeasibleBudgetError, UsageError

#: What the direct count takes for elementwise, by the names of aten.
ELEMENTWISE = {
    "add", "batch_norm", "dropout", "gelu", "hardsigmoid", "hardswish", "mul", "relu", "relu_",
    "sigmoid", "silu",
}  # fmt: skip


class Counted(fx.Interpreter):
    """Runs an exported network on real tensors, and counts the bytes of the storages that are held
    beside weights while each op runs."""

    def __init__(self, model: nn.Module, *inputs: Tensor) -> None:
        module = torch.export.export(model.eval(), inputs).module()
        super().__init__(module)
        self.weights = {t.untyped_storage().data_ptr() for t in module.state_dict().values()}
        self.given = {t.untyped_storage().data_ptr(): t for t in inputs}
        self.last_uses = self.user_to_last_uses  # of each node, those that nothing reads later
        self.peak = 0
        with torch.no_grad():
            self.run(*inputs)

    def run_node(self, n: fx.Node) -> Any:
        made = super().run_node(n)
        if n.op == "call_function" and not n.name.startswith(("_guards", "_assert")):
            self.peak = max(self.peak, self._held(n, made))
        return made

    def _held(self, node: fx.Node, made: Any) -> int:
        held = {**self._storages(self.env.values()), **self._storages([made])}
        held |= self._storages(self.given.values())
        total = sum(held.values())
        if str(node.target).split(".")[1] in ELEMENTWISE:
            own = self._storages([made])
            dying = self.last_uses.get(node, [])
            left = self._storages(v for n, v in self.env.items() if n not in dying)
            for n in node.all_input_nodes:
                for storage, size in self._storages([self.env[n]]).items():
                    free = storage not in left and storage not in self.given
                    if n in dying and free and storage not in own and size in own.values():
                        return total - size  # its output is written over it
        return total

    def _storages(self, values: Any) -> dict[int, int]:
        leaves = [t for t in torch.utils._pytree.tree_leaves(list(values)) if isinstance(t, Tensor)]
        storages = [t.untyped_storage() for t in leaves]
        return {s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in self.weights}


class Net(nn.Module):
    """Layers by name, each of which takes and gives a map."""

    def __init__(self, kinds: list[str], widths: list[int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, 2, 1)
        self.kinds = kinds
        layers, width = [], widths[0]
        for kind, wide in zip(kinds, widths[1:], strict=True):
            inner = width if kind in ("residual", "gate", "halves") else wide
            layers.append(nn.ModuleDict({
                "conv": nn.Conv2d(width, inner, 3, padding=1),
                "norm": nn.BatchNorm2d(inner),
                "act": nn.ReLU(inplace=kind == "in place"),
            }))  # fmt: skip
            width = inner + width if kind == "concat" else inner
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for kind, layer in zip(self.kinds, self.layers, strict=True):
            made = layer["act"](layer["norm"](layer["conv"](x)))  # type: ignore[index]
            if kind == "residual":
                made = made + x
            elif kind == "gate":
                made = x * made.mean((2, 3), keepdim=True).sigmoid()
            elif kind == "concat":
                made = torch.cat([x, made], 1)
            elif kind == "halves":
                made = nn.functional.max_pool2d(made, 2, 1, 1)
            x = made
        return self.head(x.mean((2, 3)).flatten(1))


KINDS = ["plain", "in place", "residual", "gate", "concat", "halves"]


def check_plan(kinds: list[str], seed: int) -> None:
    """The plan at full widths and at random masks, against the networks that are left."""
    random = np.random.default_rng(seed)
    widths = [int(w) for w in random.integers(4, 12, len(kinds) + 1)]
    torch.manual_seed(seed)
    model, example = Net(kinds, widths).eval(), torch.randn(1, 3, 16, 16)
    graph = trace(model, example)
    space, _ = space_of(model, lambda exclude: graph, [Prune()])
    cost = MemoryCost(space)
    for counts in (graph.sizes, graph.random_counts(random)):
        small = shrink(model, graph, largest(model, graph, counts)).eval()
        weights = 4 * sum(p.numel() for p in small.parameters())
        expected = Counted(small, example).peak + weights
        assert cost.exact(counts) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5), st.integers(0, 2**16))
@pytest.mark.slow
def test_the_plan_is_a_direct_count_of_any_shrunk_network(kinds: list[str], seed: int) -> None:
    check_plan(kinds, seed)


def test_the_plan_is_a_direct_count_of_the_shrunk_network() -> None:
    check_plan(KINDS, 0)


def test_it_has_gradients_and_counts_what_is_held_at_once() -> None:
    model, example = Net(["concat"], [8, 8]).eval(), torch.randn(1, 3, 16, 16)
    graph = trace(model, example)
    space, _ = space_of(model, lambda exclude: graph, [Prune()])
    cost = MemoryCost(space)
    counts = torch.tensor([float(g.size) for g in space.groups], requires_grad=True)
    cost(counts).backward()
    assert counts.grad is not None
    # at the concat: the input (3 x 16 x 16), two maps of 8 x 8 x 8, and both together
    held = 4 * (3 * 256 + 2 * 512 + 1024)
    assert float(cost.activations(counts.detach()).amax()) == held
    assert all(counts.grad[g.index] > 0 for g in graph.prunable)
    doubled = torch.stack([counts.detach(), counts.detach()])
    assert cost(doubled).shape == (2,)


def test_a_budget_of_memory_is_met_by_measurement() -> None:
    torch.manual_seed(0)
    model, example = Net(["plain", "residual"], [16, 24, 16]), torch.randn(1, 3, 16, 16)

    def measure(network: nn.Module) -> float:  # a runtime that packs weights twice, and a constant
        weights = 4 * sum(p.numel() for p in network.parameters())
        return 1000.0 + 2 * weights + Counted(network, example).peak

    comp = Compressor(
        model, example, None, "memory=60%", steps=20, measure={"memory": measure}
    )  # fmt: skip
    assert comp.cost_unit == "bytes"
    whole = measure(model)
    assert comp.original_cost == pytest.approx(whole, rel=1e-6)
    optimizer = torch.optim.SGD(comp.parameters(), lr=1e-3)
    for _ in range(22):
        (comp(example).square().mean() + comp.penalty()).backward()
        optimizer.step()
        comp.step()
        optimizer.zero_grad()
    assert 0.5 * whole < measure(comp.shrink()) <= 0.6 * whole


def test_memory_budgets_are_read_and_refused() -> None:
    assert Budget.parse("memory=20MB").value == 20e6
    assert Budget.parse("memory=60%").fraction == 0.6
    with pytest.raises(UsageError, match="'memory=20MB'"):
        Budget.parse("memory=20 ms")
    model, example = Net(["plain"], [8, 8]), torch.randn(1, 3, 16, 16)
    graph = trace(model, example)
    space, _ = space_of(model, lambda exclude: graph, [Prune()])
    with pytest.raises(InfeasibleBudgetError, match=r"reachable: .*kB to .*kB"):
        Goals(space, {}, ["memory=1kB"])
    (goal,) = Goals(space, {}, ["memory=90%"], {"memory": 1e6}).each
    assert (goal.original, goal.limit) == (pytest.approx(1e6), pytest.approx(9e5))
