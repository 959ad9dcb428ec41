"""Everything of a training lives where its model lives, and waits for it rarely. No GPU is needed:
tensors that say they are on one refuse the CPU's beside them, and hold real values."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
import torch
from support.on_cuda import OnCuda, as_on_cuda, on_cuda, waits
from support.training import Plain, batch
from torch import nn

from latprof import Compressor, LowRank, Masks, Prune, Quantize, Sparse
from latprof.compress import Block
from latprof.compress.masks import Weights

STEPS = 24


@pytest.fixture(autouse=True)
def _weights_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that wait until they are used are tensors of another class of their own, which the
    stand-in, being one too, cannot be."""
    given = Weights.forward

    def whole(self: Weights, model: nn.Module, scales: Any, *, defer: bool = False) -> Any:
        return given(self, model, scales)

    monkeypatch.setattr(Weights, "forward", whole)


def compressor(block: Block, **more: Any) -> Compressor:
    budget = "macs=60%" if isinstance(block, (Prune, LowRank)) else "bytes=50%"
    more = {"steps": STEPS, **more}
    return Compressor(Plain(), torch.zeros(1, 16), None, budget, blocks=[block], **more)


def trained(comp: Compressor, steps: int, device: str) -> list[tuple[int, int]]:
    """Per step, how often forward and backward wait for the device, and how often ``step`` does."""
    optimizer = torch.optim.AdamW(comp.parameters(), lr=3e-3, foreach=False)
    found = []
    for number in range(steps):
        x, y = (t.to(device) for t in batch(number))
        waits()
        (nn.functional.cross_entropy(comp(x), y) + comp.penalty()).backward()
        before = len(waits())
        optimizer.step()
        comp.step()
        found.append((before, len(waits())))
        optimizer.zero_grad()
    return found


@pytest.mark.parametrize(
    "block", [Prune(), LowRank(), Sparse(), Quantize()], ids=lambda b: type(b).__name__
)
def test_a_network_is_trained_and_shrunk_on_a_gpu_as_on_the_cpu(block: Block) -> None:
    plain = compressor(block)
    trained(plain, STEPS + 2, "cpu")
    made = compressor(block)
    with as_on_cuda():
        comp: Any = on_cuda(made)
        trained(comp, STEPS + 2, "cuda")
        small = comp.shrink()
        counts = comp.counts()
        outputs = small(batch(0)[0].to("cuda"))
        assert bool(comp.fixed)
    assert all(isinstance(p, OnCuda) for p in (*small.parameters(), outputs))
    assert counts == plain.counts()
    assert torch.allclose(outputs.held, plain.shrink()(batch(0)[0]), atol=1e-4)


def test_a_step_waits_for_the_device_once() -> None:
    """But for those at which lambda is steered or masks are projected, which are few in a phase of
    usual length."""
    made = compressor(Prune(), steps=8000, method=Masks(warm_up=0.002))
    with as_on_cuda():
        comp: Any = on_cuda(made)
        found = trained(comp, 60, "cuda")
    assert statistics.median(before for before, _ in found) == 0
    assert statistics.median(after for _, after in found) <= 1  # whether the gradient is finite


def test_the_stand_in_refuses_what_a_gpu_refuses() -> None:
    with as_on_cuda():
        there, here = torch.ones(3).to("cuda"), torch.ones(3)
        assert (there + 1).device.type == "cuda"
        assert torch.zeros(2, device="cuda").device.type == "cuda"
        assert there.cpu().device.type == "cpu"
        with pytest.raises(RuntimeError, match="tensors are on cuda and on the CPU"):
            there + here
