"""Quantize to a latency: which layers and widths pay, what they cost, and the file that comes of
it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from support.few_bits import (
    FEATURES,
    Tokens,
    few_bits_surrogate,
    few_bits_table,
    reloading_surrogate,
)
from torch import nn

from latprof import Compressor
from latprof.compress import Prune, Quantize, export, load_check, workloads_of_file
from latprof.compress.cost import LatencyCost
from latprof.compress.cost._few_bits import storing_widths
from latprof.compress.export import FEW_BITS_ROUNDING, onnx_session
from latprof.errors import InfeasibleBudgetError, UsageError
from latprof.surrogate import Surrogate, fit
from latprof.workloads import MatMul

# the exporter runs code that warns of torch's own plans
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

EXAMPLE = torch.randn(1, 8, FEATURES, generator=torch.Generator().manual_seed(1))
BY_OUTPUT = Quantize(grid="symmetric", scales="channel", bits=(2, 4, 8, 16))
BLOCKS = (Prune(), BY_OUTPUT)


def make(
    budget: str = "60%",
    *,
    blocks: tuple[Prune | Quantize, ...] = BLOCKS,
    of: Surrogate | None = None,
    steps: int = 40,
) -> Compressor:
    torch.manual_seed(0)
    of = few_bits_surrogate() if of is None else of
    return Compressor(Tokens(), EXAMPLE, of, budget, blocks=blocks, steps=steps)


def widths(comp: Compressor) -> set[tuple[int, ...]]:
    return {o.block.bits for o in comp.space.bits if isinstance(o.block, Quantize)}


def latency_cost(comp: Compressor) -> LatencyCost:
    assert isinstance(comp.cost_model, LatencyCost)
    return comp.cost_model


def test_what_does_not_pay_is_declined_with_what_was_predicted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "latprof"):
        comp = make()
    assert [o.layer.path for o in comp.space.bits] == ["hidden", "head"]
    assert widths(comp) == {(4, 8)}
    lines = [record.getMessage() for record in caplog.records]
    (declined,) = (line for line in lines if "many" in line)
    assert declined.startswith("Quantize leaves many in float32, no faster with few bits: 8 rows")
    assert "us in float32" in declined
    assert "us at 4 bits" in declined
    assert "Quantize does without 2, 16 bits, which save no latency" in lines


def test_weights_that_a_model_loads_again_pay_where_the_op_alone_does_not() -> None:
    comp = make(of=reloading_surrogate(), blocks=(BY_OUTPUT,))
    assert [o.layer.path for o in comp.space.bits] == ["many", "hidden", "head"]
    cost, sizes = latency_cost(comp), comp.space.sizes
    fewest = cost.least()
    assert cost.exact(fewest) < cost.exact(sizes)
    few = torch.tensor([fewest], dtype=torch.float32)
    assert float(cost(few)) == pytest.approx(cost.exact(fewest), rel=0.01)


def test_the_cost_is_that_of_the_ops_of_the_file() -> None:
    comp = make()
    cost, sizes = latency_cost(comp), comp.space.sizes
    levels = {o.layer.path: o.group.index for o in comp.space.bits}

    def at(hidden: int, head: int) -> list[int]:
        counts = list(sizes)
        counts[levels["hidden"]], counts[levels["head"]] = hidden, head
        return counts

    def predicted_s(hidden: int, head: int) -> float:
        ops = []
        for w in comp.space.workloads(sizes):
            if isinstance(w, MatMul) and w.m * w.batch == 1:
                w = w.with_weight_bits(hidden if w.n == 128 else head)
            ops.append(w)
        return float(few_bits_surrogate().predict_model(ops).latency_s)

    for counts, bits in ((at(3, 3), (0, 0)), (at(1, 3), (4, 0)), (at(2, 1), (8, 4))):
        assert cost.exact(counts) == pytest.approx(predicted_s(*bits), rel=1e-6)
        rows = torch.tensor(counts, dtype=torch.float32)
        assert float(cost(rows)) == pytest.approx(predicted_s(*bits), rel=0.02)
    soft = torch.tensor(at(3, 3), dtype=torch.float32, requires_grad=True)
    (grad,) = torch.autograd.grad(cost(soft - 0.5 * (soft == 3)), soft)
    assert grad[levels["hidden"]] > 0  # more bits take longer


def test_a_network_trained_to_a_latency_is_equal_to_its_file(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")
    comp = make("50%")
    optimizer = torch.optim.AdamW(comp.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        x = torch.randn(32, 8, FEATURES, generator=generator)
        loss = nn.functional.cross_entropy(comp(x), x[:, 0, :4].argmax(1)) + comp.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        comp.step()
    small, counts, of = comp.shrink().eval(), comp.counts(), few_bits_surrogate()
    (latency,) = comp.goals.each
    assert latency.cost.exact(counts) <= latency.limit * 1.0001
    path = export(small, EXAMPLE, tmp_path / "small.onnx", pack=True, surrogate=of)
    read = workloads_of_file(path)
    bits = [w.weight_bits for w in read if isinstance(w, MatMul)]
    assert bits[0] == 0
    assert any(bits)
    file_s = float(of.predict_model(read).latency_s)
    # the file's op of the mean is in no row of the network's graph
    assert file_s == pytest.approx(latency.cost.exact(counts), rel=0.1)
    check = load_check(path)
    with torch.no_grad():
        expected = comp.eval()(EXAMPLE).numpy()
    (found,) = onnx_session(path).run(None, check.inputs)
    scale = np.abs(check.outputs[0]).max()
    assert np.abs(found - check.outputs[0]).max() <= FEW_BITS_ROUNDING * scale
    assert np.isfinite(expected).all()


def test_bytes_beside_it_keep_every_layer_and_width() -> None:
    torch.manual_seed(0)
    budgets = ["60%", "bytes=40%"]
    comp = Compressor(Tokens(), EXAMPLE, few_bits_surrogate(), budgets, blocks=BLOCKS, steps=40)
    assert [o.layer.path for o in comp.space.bits] == ["many", "hidden", "head"]
    assert widths(comp) == {(2, 4, 8, 16)}
    comp.fix()
    assert comp.budget_ratio() <= 1.0001


def test_what_is_refused() -> None:
    without = few_bits_table(())
    with pytest.raises(UsageError, match="--bits 4,8"):
        make(of=fit(without))
    with pytest.raises(UsageError, match=r"no layer is predicted to take less time.*8 rows of 64"):
        make(blocks=(Prune(), Quantize(layers=("many",))))
    with pytest.raises(UsageError, match="Quantize cannot pay here"):
        make("macs=50%")
    with pytest.raises(UsageError, match="no layer is predicted"):
        make(blocks=(Prune(), Quantize(grid="even")))
    with pytest.raises(InfeasibleBudgetError, match="reachable"):
        make("1%")


@pytest.mark.parametrize(
    ("block", "of_onnx", "of_tflite"),
    [
        (Quantize(bits=(4, 8), grid="symmetric", scales="channel"), [(4, 8), (8,)], [(4, 8), (8,)]),
        # its zero may be at an end, so that codes about it need a bit more
        (Quantize(bits=(4, 8), scales="channel"), [(4, 8), ()], [(8,), ()]),
        (Quantize(bits=(4, 8), scales="block-32"), [(4,), ()], [(), ()]),
        (Quantize(bits=(0, 4), grid="symmetric"), [(2, 4, 8), (4, 8)], [(2, 4, 8), (4, 8)]),
    ],
)
def test_which_widths_store_a_grid(
    block: Quantize, of_onnx: list[tuple[int, ...]], of_tflite: list[tuple[int, ...]]
) -> None:
    for runtime, stored in (("onnxruntime", of_onnx), ("tflite", of_tflite)):
        assert [storing_widths(block, level, runtime) for level in (1, 2)] == stored


def test_where_8_bits_are_in_blocks_it_says_how_they_pay(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "latprof"):
        comp = make("80%", blocks=(Quantize(bits=(4, 8), scales="block-32"),))
    assert widths(comp) == {(4,)}
    lines = [record.getMessage() for record in caplog.records]
    assert "Quantize does without 8 bits, which save no latency; " in " ".join(lines)
    assert "'symmetric' grids per 'channel'" in " ".join(lines)
