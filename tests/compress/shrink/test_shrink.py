"""Masked, shrunk and rebuilt networks are one function, whatever is drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.architectures import counts_of, random_masks, randomise
from support.networks import BLOCKS, DrawnNet
from torch import nn
from torch.func import functional_call

from latprof import zoo
from latprof.compress import Graph, load_shrunk, recipe_of, shrink, trace, variant
from latprof.errors import ShrinkError, UsageError

KINDS = st.sampled_from(("random", "one", "all", "divisor"))


@pytest.fixture(scope="module")
def shrinkable() -> tuple[nn.Module, Graph]:
    model, inputs = zoo.resnet18(size=16, width=16)
    randomise(model)
    return model, trace(model, inputs)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), kind=KINDS)
def test_any_masks(shrinkable: tuple[nn.Module, Graph], seed: int, kind: str) -> None:
    model, graph = shrinkable
    masks = random_masks(graph, torch.Generator().manual_seed(seed), kind)
    small = shrink(model, graph, masks)
    assert graph.stats(counts_of(masks)).params == sum(p.numel() for p in small.parameters())


@settings(max_examples=25)
@given(kinds=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=4), seed=st.integers(0, 999))
def test_any_network(kinds: list[str], seed: int) -> None:
    """Whatever ops meet: what the trace calls prunable shrinks exactly, the rest has a reason."""
    model = randomise(DrawnNet(tuple(kinds), seed), seed)
    inputs = (torch.zeros(1, 3, 8, 8),)
    graph = trace(model, inputs)
    assert all(g.reason for g in graph.groups if not g.prunable)
    generator = torch.Generator().manual_seed(seed)
    for kind in ("random", "one"):
        masks = random_masks(graph, generator, kind)
        small = shrink(model, graph, masks)
        assert graph.stats(counts_of(masks)).params == sum(p.numel() for p in small.parameters())


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_block(kind: str) -> None:
    """Each way to connect ops, alone, and what the trace of the small network then sees."""
    model = randomise(DrawnNet((kind,), 0))
    inputs = (torch.zeros(1, 3, 8, 8),)
    graph = trace(model, inputs)
    masks = random_masks(graph, torch.Generator().manual_seed(0))
    small = shrink(model, graph, masks)
    again = trace(small, inputs, probe=False)
    assert again.workloads() == graph.workloads(counts_of(masks))
    unshrinkable = {"softmax", "channels_last", "flip"}
    stem = next(g for g in graph.groups if g.name == "stem")
    assert stem.prunable or kind in unshrinkable, stem.reason


def test_the_model_stays_as_it_was(shrinkable: tuple[nn.Module, Graph]) -> None:
    model, graph = shrinkable
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    modules = [type(m) for m in model.modules()]
    shrink(model, graph, random_masks(graph, torch.Generator().manual_seed(0)))
    assert all(m.training for m in model.modules())
    assert [type(m) for m in model.modules()] == modules
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    model.eval()


def test_gradients_reach_weights_and_masks(shrinkable: tuple[nn.Module, Graph]) -> None:
    model, graph = shrinkable
    alphas = [torch.ones(g.size, requires_grad=True) for g in graph.groups]
    masked = graph.masked(dict(model.named_parameters()), alphas)
    functional_call(model, masked, (torch.randn(2, 3, 16, 16),)).square().sum().backward()
    for g, alpha in zip(graph.groups, alphas, strict=True):
        assert (alpha.grad is not None and bool(alpha.grad.any())) == g.prunable
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()


def test_masks_survive_torch_compile(shrinkable: tuple[nn.Module, Graph]) -> None:
    model, graph = shrinkable
    masks = random_masks(graph, torch.Generator().manual_seed(3))
    x = torch.randn(2, 3, 16, 16)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return functional_call(model, graph.masked(dict(model.named_parameters()), masks), (x,))

    compiled = torch.compile(forward, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.allclose(compiled(x), forward(x), rtol=1e-5, atol=1e-6)


def test_recipe_rebuilds_the_small_network(
    shrinkable: tuple[nn.Module, Graph], tmp_path: Path
) -> None:
    model, graph = shrinkable
    small = shrink(model, graph, random_masks(graph, torch.Generator().manual_seed(1)))
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe_of(model, small)))
    again = load_shrunk(zoo.resnet18(size=16, width=16)[0], path)
    again.load_state_dict(small.state_dict())
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(again.eval()(x), small.eval()(x))
    with pytest.raises(UsageError, match="fits into"):
        load_shrunk(zoo.resnet18(size=16, width=4)[0], path)
    path.write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        load_shrunk(model, path)


def test_variants_are_random_and_repeat(shrinkable: tuple[nn.Module, Graph]) -> None:
    model, graph = shrinkable
    sizes = [
        sum(p.numel() for p in variant(model, graph, np.random.default_rng(seed)).parameters())
        for seed in (0, 0, 1)
    ]
    assert sizes[0] == sizes[1] != sizes[2]
    wide = graph.configured("blocks.*", minimum=4, divisor=4)
    for g, count in zip(wide.groups, wide.random_counts(np.random.default_rng(2)), strict=True):
        if g.prunable and g.name.startswith("blocks"):
            assert count >= 4
            assert count % 4 == 0


def test_what_cannot_be_asked(shrinkable: tuple[nn.Module, Graph]) -> None:
    model, graph = shrinkable
    last = graph.groups[-1]
    assert not last.prunable
    with pytest.raises(UsageError, match="cannot shrink: output of the model"):
        shrink(model, graph, {last.name: torch.zeros(last.size)})
    first = graph.groups[0]
    with pytest.raises(UsageError, match=r"mask is \(3,\)"):
        shrink(model, graph, {first.name: torch.ones(3)})
    with pytest.raises(UsageError, match="0 units left"):
        shrink(model, graph, {first.name: torch.zeros(first.size)})
    with pytest.raises(UsageError, match="no group is called"):
        shrink(model, graph, {"nowhere": torch.ones(3)})
    with pytest.raises(UsageError, match="masks for"):
        shrink(model, graph, [torch.ones(3)])
    with pytest.raises(UsageError, match="no group matches"):
        graph.configured("nowhere*", minimum=2)
    with pytest.raises(UsageError, match="expected a whole number"):
        graph.workloads([0] * len(graph.groups))


def test_a_wrong_small_network_is_refused(shrinkable: tuple[nn.Module, Graph]) -> None:
    """The check at the end of shrink sees a network that is not the masked one."""

    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)
            self.width = 8

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x)
            return self.b(y) * (y.shape[1] / self.width)

    model = Remembers()
    graph = trace(model, torch.zeros(1, 4), probe=False)
    with pytest.raises(ShrinkError, match="from the masked one"):
        shrink(model, graph, {"a": torch.tensor([1.0, 0, 1, 0, 1, 1, 1, 1])})
    probed = trace(model, torch.zeros(1, 4))
    assert probed.attributes == {"": {"width": 0}}  # found by trying, and scaled with the group
    small = shrink(model, probed, {"a": torch.tensor([1.0, 0, 1, 0, 1, 1, 1, 1])})
    assert vars(small)["width"] == 6
