"""Batch-norm statistics are those of all the data, however it is cut into batches."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from latprof.compress import recalibrate
from latprof.errors import UsageError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    first = [nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]
    last = [nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 36, 5), nn.BatchNorm1d(5)]
    return nn.Sequential(*first, *last).eval()


def images(n: int = 60) -> Tensor:
    dice = torch.Generator().manual_seed(1)
    ramp = torch.linspace(-3, 5, n).view(-1, 1, 1, 1)  # batches differ in their means
    return torch.randn(n, 3, 8, 8, generator=dice) * 2 + ramp


@pytest.mark.parametrize("sizes", [(60,), (20, 20, 20), (7, 31, 2, 20)])
def test_the_statistics_are_the_populations(sizes: tuple[int, ...]) -> None:
    model, x = network(), images()
    recalibrate(model, torch.split(x, list(sizes)))
    norm = model[0]
    flat = x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(norm.running_mean, flat.mean(1).float(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(norm.running_var, flat.var(1).float(), rtol=1e-6, atol=1e-6)


def test_one_batch_gives_torchs_own_estimate_in_every_layer() -> None:
    model, x = network(), images()
    theirs = copy.deepcopy(model)
    for module in theirs.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum, module.training = None, True
    with torch.no_grad():
        theirs(x)
    recalibrate(model, [x])
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_all_else_stays_and_the_old_statistics_do_not_matter() -> None:
    model, x = network(), images()
    model[4].train()
    other = copy.deepcopy(model)
    for norm in (other[0], other[2], other[7]):
        norm.running_mean.fill_(7.0)
        norm.running_var.fill_(0.1)
    before = [(type(m), m.training, getattr(m, "momentum", 0)) for m in model.modules()]
    weights = {n: p.detach().clone() for n, p in model.named_parameters()}
    batches = [{"input": some} for some in torch.split(x, 20)]
    recalibrate(model, batches)
    recalibrate(other, [(some, None) for some in torch.split(x, 20)])
    after = [(type(m), m.training, getattr(m, "momentum", 0)) for m in model.modules()]
    assert before == after
    assert not any(m._forward_pre_hooks for m in model.modules())
    for name, value in model.named_parameters():
        assert torch.equal(value, weights[name])
    for name, value in model.state_dict().items():  # dropout is out, so twice is the same
        assert torch.equal(value, other.state_dict()[name]), name


def test_no_batches_are_refused_and_no_batch_norm_is_left_alone() -> None:
    with pytest.raises(UsageError, match="no batches"):
        recalibrate(network(), [])
    recalibrate(nn.Linear(2, 2), [])
