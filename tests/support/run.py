"""A whole compression run in a folder, on a device that is pure arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latprof import LatencyTable
from latprof.compress import TensorBatches, TrainSettings, trace, workloads_of_file
from latprof.devices import Job, profile
from latprof.devices._fake import BackgroundLoad, FakeDevice
from latprof.pipeline.run import (
    Compression,
    Deployment,
    Settings,
    Watcher,
    compress_in,
    conclude,
)
from latprof.surrogate import Surrogate, fit
from latprof.tables import plan
from latprof.vocabulary import RunResult

__all__ = ["SETTINGS", "Arithmetic", "Net", "data", "fake_run", "surrogate", "table"]

SETTINGS = Settings(
    budget="65%",
    masks=TrainSettings(6, lr=4e-3, final=0.5),
    fine_tune=TrainSettings(1, lr=2e-3),
    trail=3,
)


class Net(nn.Sequential):
    """(B, 1, 12, 12) to (B, 4), with batch norms."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        first = [nn.Conv2d(1, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()]
        second = [nn.Conv2d(32, 64, 1), nn.BatchNorm2d(64), nn.ReLU()]
        third = [nn.Conv2d(64, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU()]
        last = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 4)]
        super().__init__(*first, *second, *third, *last)


class Arithmetic(FakeDevice):
    """A FakeDevice on which an exported file takes what its ops take."""

    def law_s(self, job: Job) -> float:
        if not isinstance(job, Path):
            return super().law_s(job)
        return sum(super(Arithmetic, self).law_s(w) for w in workloads_of_file(job))


def data() -> tuple[TensorBatches, tuple[Tensor, Tensor]]:
    dice = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (320,), generator=dice)
    images = torch.randn(320, 1, 12, 12, generator=dice) + labels.view(-1, 1, 1, 1)
    return TensorBatches(images, labels, 32), (images, labels)


def fake_run(
    folder: Path, *, on_progress: Callable[[Any], None] = lambda row: None, **more: Any
) -> tuple[Compression, RunResult]:
    """The same call goes on where it stopped. ``more`` is trackers, how much ``slower`` the device
    is this time, and changes to SETTINGS."""
    folder.mkdir(exist_ok=True)
    model, inputs = Net().eval(), (torch.zeros(1, 1, 12, 12),)
    batches, test = data()
    trackers = more.pop("trackers", None)
    load = BackgroundLoad(0.0, 1e9, slowdown=more.pop("slower", 1.0))
    with Arithmetic(seed=3, stair=8, loads=[load]) as device:
        deployment = Deployment(device, folder, inputs)
        settings = replace(SETTINGS, **more)
        if settings.int8:
            deployment = deployment.in_int8(model, batches)
        done = compress_in(
            deployment,
            model,
            surrogate(),
            settings,
            batches,
            Watcher(on_progress, trackers=trackers),
        )
        networks = {
            "original": (model, done.comp.space.sizes),
            "compressed": (done.small, done.comp.counts()),
        }
        return done, conclude(deployment, networks, done, test)


@cache
def surrogate() -> Surrogate:
    """Of ``table()``."""
    return fit(table())


@cache
def table() -> LatencyTable:
    """With rows of both dtypes."""
    workloads = trace(Net().eval(), (torch.zeros(1, 1, 12, 12),)).workloads()
    workloads += [w.with_dtype("int8") for w in workloads if w.kind in ("conv2d", "matmul")]
    with Arithmetic(seed=3, stair=8) as device:
        rows = tuple(profile(device, plan(workloads, n_shapes=160)))
        return LatencyTable(device.target, rows)
