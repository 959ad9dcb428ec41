"""The user's own loop in its variants: processes, precision, accumulation, averages."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from support.training import (
    MASKS,
    STEPS,
    batch,
    plain_compressor,
    run,
    task,
    train_in_two,
)
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from latprof.compress import shrink
from latprof.compress.train import channels_last


def same(a: Tensor, b: Tensor) -> float:
    """Share of the channels that both masks keep or both remove."""
    return float(((a > 0) == (b > 0)).float().mean())


def test_two_processes_are_one(tmp_path: Path) -> None:
    """The state is the same in both, bit for bit, and the masks those of one process."""
    torch.multiprocessing.spawn(train_in_two, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    for init in ("importance", "uniform"):
        first, second = (torch.load(tmp_path / f"{init}{rank}.pt") for rank in (0, 1))
        for name, value in first["state"].items():
            assert torch.equal(value, second["state"][name]), name
        assert (first["asked"], second["asked"]) == ([1.2, 0.97], [])  # one measures for both
    comp = plain_compressor(MASKS)
    readings = iter((1.2, 0.97))
    comp.measure = {"latency": lambda _: comp.budget_cost * next(readings)}
    run(comp)
    two = torch.load(tmp_path / "importance0.pt")
    assert comp.counts() == two["counts"]
    assert same(comp.alpha, two["state"]["selection.masks.alpha"]) > 0.97


def test_accumulated_halves_are_one_whole() -> None:
    whole, halves = run(plain_compressor(MASKS)), run(plain_compressor(MASKS), accumulate=2)
    assert int(halves.steps_taken) == MASKS
    assert whole.counts() == halves.counts()
    assert same(whole.alpha, halves.alpha) > 0.97


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_mixed_precision_meets_the_budget(precision: torch.dtype) -> None:
    comp = run(plain_compressor(MASKS), precision=precision, scaler=precision == torch.float16)
    assert comp.fixed
    assert comp.cost() <= comp.budget_cost
    x, y = task()
    assert (comp(x).argmax(1) == y).float().mean() > 0.6


def test_the_penalty_is_exact_under_autocast() -> None:
    comp = plain_compressor(MASKS)
    comp.regularizer.weight.fill_(2.0)
    with torch.no_grad():  # soft counts that 8 bits cannot tell
        comp.alpha.copy_(torch.rand(len(comp.alpha), generator=torch.Generator().manual_seed(0)))
    exact = comp.penalty()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(comp.penalty(), exact)


def test_steps_that_a_scaler_skips_leave_the_masks_alone() -> None:
    comp = run(plain_compressor(MASKS), steps=20)
    before = {k: v.clone() for k, v in comp.state_dict().items()}
    comp.alpha.grad = torch.full_like(comp.alpha, torch.inf)
    comp.step()
    for name, value in comp.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_averaged_weights_keep_the_masks_zeros() -> None:
    """docs/guide/own-loop.md: average the model, not the compressor, once the masks are fixed."""
    comp = plain_compressor(MASKS)
    decay = get_ema_multi_avg_fn(0.9)
    ema = AveragedModel(comp.model, multi_avg_fn=decay)
    naive = AveragedModel(comp, multi_avg_fn=decay)
    optimizer = torch.optim.AdamW(comp.parameters(), lr=3e-3)
    mean: dict[str, Tensor] = {}
    for step in range(STEPS):
        x, y = batch(step)
        optimizer.zero_grad()
        (nn.functional.cross_entropy(comp(x), y) + comp.penalty()).backward()
        optimizer.step()
        comp.step()
        naive.update_parameters(comp)
        if comp.fixed:
            ema.update_parameters(comp.model)
            for name, value in comp.model.state_dict().items():
                old = mean.get(name, value)
                mean[name] = 0.9 * old + 0.1 * value
    small = shrink(ema.module, comp.graph, comp.scales())
    wanted = copy.deepcopy(comp)
    wanted.model.load_state_dict(mean)
    x, y = task()
    torch.testing.assert_close(small(x), wanted(x), rtol=1e-4, atol=1e-5)
    assert (small(x).argmax(1) == y).float().mean() > 0.6
    # Why not the compressor: its average remembers channels that are gone.
    gone = comp.alpha == 0
    assert gone.any()
    assert (naive.module.alpha[gone] > 0).all()


def test_images_have_their_channels_last_beside_tensors_of_five_dims() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(4, 4))
    model.register_buffer("places", torch.zeros(1, 1, 1, 32, 2))
    channels_last(model)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    volumes = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv3d(3, 8, 3))
    channels_last(volumes)
    assert volumes[0].weight.is_contiguous()
