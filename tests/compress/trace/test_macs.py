"""What a graph counts: every product from its shapes, checked by torch's own counter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.architectures import ARCHITECTURES, counts_of, random_masks
from support.products import PRODUCTS
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from latprof.compress import shrink, trace
from latprof.compress.graph import Inputs

# transformers and the exporter warn of their own internals
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = [
    name if a.quick else pytest.param(name, marks=pytest.mark.slow)
    for name, a in ARCHITECTURES.items()
]


def counted_by_torch(model: nn.Module, example: Any) -> int:
    """MACs of one forward as torch's counter has them, of each op in its plain form: without
    fused kernels that the counter does not know."""
    inputs = Inputs.of(example)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.backends.mkldnn.flags(enabled=False),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            model(*inputs.args, **inputs.kwargs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize("name", ROWS)
def test_macs_of_an_architecture_are_those_that_torch_counts(name: str) -> None:
    if ARCHITECTURES[name].source == "transformers":
        pytest.importorskip("transformers", reason="pip install 'latprof[models]'")
    model, inputs = ARCHITECTURES[name].build()
    assert trace(model, inputs, probe=False).stats().macs == counted_by_torch(model, inputs)


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_way_to_multiply_is_counted(name: str) -> None:
    model, inputs = PRODUCTS[name]()
    graph = trace(model.eval(), inputs)
    assert graph.stats().macs == counted_by_torch(model, inputs)
    assert all(g.reason for g in graph.groups if not g.prunable)
    assert not graph.opaque


@pytest.mark.parametrize("name", PRODUCTS)
def test_macs_predicted_for_a_shrunk_network_are_those_of_tracing_it(name: str) -> None:
    model, inputs = PRODUCTS[name]()
    graph = trace(model.eval(), inputs)
    generator = torch.Generator().manual_seed(0)
    for kind in ("random", "one"):
        masks = random_masks(graph, generator, kind)
        small = shrink(model, graph, masks)
        again = trace(small, inputs, probe=False)
        predicted, found = graph.stats(counts_of(masks)), again.stats()
        assert (predicted.macs, predicted.params) == (found.macs, found.params)
        assert found.macs == counted_by_torch(small, inputs)


@pytest.mark.parametrize(
    ("name", "stays"),
    [
        ("weight norm", "conv2d (1) multiplies by a weight that the forward computes"),
        ("spectral norm", "mv (0.parametrizations.weight.0) is an op that channels cannot be"),
        ("cells", "gru_cell (cell) is an op that channels cannot be followed through"),
        ("cross attention", "the code around it keeps its size: "),
        ("kernels made from the input", "conv2d is an op that channels cannot be followed"),
    ],
)
def test_channels_that_stay_are_listed_with_their_reason(name: str, stays: str) -> None:
    graph = trace(*eval_of(PRODUCTS[name]))
    assert any(g.reason.startswith(stays) for g in graph.groups), [g.reason for g in graph.groups]


def eval_of(make: Callable[[], tuple[nn.Module, Any]]) -> tuple[nn.Module, Any]:
    model, inputs = make()
    return model.eval(), inputs


@pytest.mark.parametrize(
    ("name", "prunable"),
    [
        ("weight norm", {"1": 16}),
        ("parts of one weight", {"weight": 12}),
        ("scaled and cast", {"enter": 16, "weight": 12}),
        ("bias in two parts", {"enter": 16, "weight": 6, "weight#2": 6}),
        ("tokens", {"enter": 64}),
        ("grouped and transposed", {"0": 4}),
        ("weight standardization", {"1": 8}),
    ],
)
def test_channels_that_can_be_followed_are(name: str, prunable: dict[str, int]) -> None:
    graph = trace(*eval_of(PRODUCTS[name]))
    assert {g.name: g.size for g in graph.prunable} == prunable


def test_a_layer_over_tokens_costs_by_its_channels() -> None:
    model, inputs = PRODUCTS["tokens"]()
    graph = trace(model, inputs)
    enter = next(g for g in graph.groups if g.name == "enter")
    counts = [16 if g is enter else g.size for g in graph.groups]
    assert graph.stats(counts).macs == 49 * 16 * 16 + 16 * 49 * 49 + 49 * 16 * 4


def test_steps_of_an_rnn_are_products_that_repeat() -> None:
    model, inputs = nn.LSTM(8, 16), torch.zeros(5, 2, 8)
    step, enter = sorted(trace(model, inputs).workloads(), key=lambda w: -w.batch)
    assert (enter.macs, step.macs, step.batch) == (5 * 2 * 8 * 64, 5 * 2 * 16 * 64, 5)


def test_ops_in_no_figure_are_told_in_one_sentence() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.erfinv(x.sort().values.abs())

    graph = trace(Odd(), torch.zeros(1, 4))
    assert graph.unmeasured == {"abs": 1, "erfinv": 1, "sort": 1}
    said = "in no figure, though they take time: 1 abs, 1 erfinv, 1 sort"
    assert graph.uncounted == said
    assert trace(nn.Linear(4, 4), torch.zeros(1, 4)).uncounted == ""


def test_what_needs_no_input_takes_no_time() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale.exp().erfinv()

    graph = trace(Scaled(), torch.zeros(2, 4))
    assert graph.unmeasured == {}
    assert [w.label for w in graph.workloads()] == ["elementwise.scale"]
