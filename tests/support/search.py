"""A whole search in a folder, on a device that is pure arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from support.run import Arithmetic, Net, surrogate, table
from torch import Tensor

from latprof.compress import Classification, TensorBatches, TrainSettings, train
from latprof.pipeline.run import Deployment, Job, RunFile, SearchSettings, Settings, Watcher
from latprof.pipeline.search import search
from latprof.vocabulary import RunResult

__all__ = ["SEARCH", "fake_search", "trained"]

SEARCH = Settings(
    budget="lowest",
    keep="-4%",
    masks=TrainSettings(6, lr=4e-3, final=0.5),
    fine_tune=TrainSettings(1, lr=2e-3),
    search=SearchSettings(samples=4),
)


def noisy() -> tuple[TensorBatches, tuple[Tensor, Tensor]]:
    """Data of ``data()`` whose classes overlap, so that smaller networks lose something."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, (640,), generator=generator)
    images = 1.6 * torch.randn(640, 1, 12, 12, generator=generator)
    rows = torch.arange(12).view(1, 1, 12, 1)
    images += torch.where(rows // 3 == labels.view(-1, 1, 1, 1), 0.9, 0.0)
    return TensorBatches(images[:320], labels[:320], 32), (images[320:], labels[320:])


def trained() -> Net:
    """The original, trained for a second."""
    torch.set_num_threads(1)
    model = Net()
    train(model, noisy()[0], TrainSettings(8, lr=4e-3))
    return model


def fake_search(folder: Path, *, on_progress: Any = lambda row: None, **more: Any) -> RunResult:
    """The same call goes on where it stopped. ``more`` are changes to SEARCH."""
    folder.mkdir(exist_ok=True)
    batches, test = noisy()
    inputs = (torch.zeros(1, 1, 12, 12),)
    settings = replace(SEARCH, **more)
    path = folder / "table.parquet"
    if not path.exists():  # a table knows when it was measured
        table().save(path)
    config = RunFile("net", "noisy", path, folder, "fake", {}, None, settings, "")
    with Arithmetic(seed=3, stair=8) as device:
        deployment = Deployment(device, folder, inputs)
        job = Job(config, table(), trained(), inputs, batches, test, Classification())
        return search(job, deployment, surrogate(), Watcher(on_progress))
