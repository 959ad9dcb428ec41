"""What would fail at a training's end is reported before its first step."""

from __future__ import annotations

import copy
import importlib.util
import sys
import threading
from typing import Any

import pytest
import torch
from support.training import plain_compressor, task
from torch import Tensor, nn

from latprof import Compressor
from latprof.compress import (
    Prune,
    Quantize,
    TensorBatches,
    TrainSettings,
    check_trainable,
    train,
)
from latprof.compress.train import lagging_statistics
from latprof.errors import ExportError, UsageError


class Net(nn.Module):
    """(B, 16) to (B, 4), with a place for what goes wrong."""

    def __init__(self, wrong: str = "") -> None:
        torch.manual_seed(0)
        super().__init__()
        self.first, self.second = nn.Linear(16, 48), nn.Linear(48, 32)
        self.norm, self.head = nn.BatchNorm1d(32), nn.Linear(32, 4)
        self.aux = nn.Linear(48, 4) if wrong == "aux" else None
        self.wrong = wrong
        self.lock: Any = None

    def forward(self, x: Tensor) -> Any:
        hidden = torch.relu(self.first(x.flatten(1)))
        y = self.head(torch.relu(self.norm(self.second(hidden))))
        if not self.training:
            return y
        if self.wrong == "raises":
            raise ValueError("labels are None")
        if self.wrong == "no gradient":
            return y.detach()
        if self.wrong == "nan":
            return y * torch.nan
        return (y, self.aux(hidden)) if self.aux is not None else y


def compressor(wrong: str = "", **more: Any) -> Compressor:
    return Compressor(Net(wrong), torch.zeros(1, 16), None, "macs=50%", steps=8, **more)


def batch() -> Tensor:
    return task(32)[0]


def test_what_trains_passes_and_is_left_as_it_was() -> None:
    comp = compressor()
    comp.measure = {"latency": threading.Lock()}  # a device in use cannot be copied
    before = copy.deepcopy(comp.state_dict())
    state, training = torch.get_rng_state(), comp.training
    check_trainable(comp, batch())
    assert torch.equal(torch.get_rng_state(), state)
    assert comp.training == training
    assert all(p.grad is None for p in comp.parameters())
    for name, value in comp.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_every_block_can_be_tried() -> None:
    comp = Compressor(
        Net(), torch.zeros(1, 16), None, "bytes=30%", blocks=[Prune(), Quantize(bits=(4, 8))]
    )
    check_trainable(comp, batch())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("raises", r"Net: its forward fails in training mode in Net at .*: ValueError: labels are"),
        ("no gradient", "no output has a gradient"),
        ("nan", "its masks have a gradient that is not finite in training mode"),
    ],
)
def test_a_training_forward_that_fails_is_told(wrong: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        check_trainable(compressor(wrong), batch())
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Net. aux")
def test_a_head_of_training_alone_is_named_with_the_way_out() -> None:
    with pytest.raises(UsageError, match=r"aux\.bias, aux\.weight are used in training mode alone"):
        check_trainable(compressor("aux"), batch())
    kept = compressor("aux", blocks=[Prune(exclude=("first",))])
    check_trainable(kept, batch())


def test_an_attribute_that_cannot_be_copied_is_named() -> None:
    comp = compressor()
    comp.model.lock = threading.Lock()
    with pytest.raises(UsageError, match=r"model\.lock cannot be copied"):
        check_trainable(comp, batch())


def test_a_file_that_cannot_be_exported_is_told() -> None:
    if not importlib.util.find_spec("onnxscript"):
        pytest.skip("pip install 'latprof[onnx]'")
    check_trainable(compressor(), batch(), suffix=".onnx")
    with pytest.raises((UsageError, ExportError), match=r"\.doc"):
        check_trainable(compressor(), batch(), suffix=".doc")


@pytest.mark.filterwarnings("ignore:Net. aux")
def test_train_tries_it_before_the_first_step() -> None:
    x, y = task(64)
    batches, steps = TensorBatches(x.view(-1, 16, 1, 1), y, 32), list[Any]()
    with pytest.raises(UsageError, match="used in training mode alone"):
        train(compressor("aux"), batches, TrainSettings(4), on_tick=steps.append)
    assert not steps


def test_what_was_tried_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Compressor] = []
    loop = sys.modules[train.__module__]
    monkeypatch.setattr(loop, "check_trainable", lambda comp, _: tried.append(comp))
    x, y = task(64)
    batches = TensorBatches(x.view(-1, 16, 1, 1), y, 32)
    first, second = compressor(), compressor()
    check_trainable(first, batch())
    for comp in (first, second):
        train(comp, batches, TrainSettings(1))
    assert tried == [second]


def test_a_measured_latency_is_not_measured_for_it() -> None:
    calls: list[nn.Module] = []

    def measure(small: nn.Module) -> float:
        calls.append(small)
        return 1.0

    comp = plain_compressor(8)
    comp.measure = {"latency": measure}
    check_trainable(comp, batch())
    assert not calls


@pytest.mark.parametrize(
    ("momentum", "steps", "told"),
    [
        (0.01, 158, "momentum 0.01 keep 20% of their old statistics after 158 steps"),
        (0.01, 400, ""),
        (0.1, 158, ""),
        (0.1, 10, "momentum 0.1 keep 35%"),
        (None, 10, ""),  # the mean of all batches
    ],
)
def test_batch_norms_that_lag_are_told(momentum: float | None, steps: int, told: str) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, momentum=momentum))
    model[0].momentum = 0.5
    found = lagging_statistics(model, steps)
    assert told in found
    assert bool(told) == bool(found)
    untracked = nn.BatchNorm1d(3, momentum=0.01, track_running_stats=False)
    assert not lagging_statistics(untracked, 10)
