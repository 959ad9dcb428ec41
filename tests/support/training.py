"""Quick surrogates and small tasks that masks are trained on."""

from __future__ import annotations

import contextlib
import os
from functools import cache
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from latprof import LatencyTable, Prune
from latprof.compress import Compressor, TensorBatches, TrainSettings, trace, train
from latprof.devices import profile
from latprof.devices._fake import FakeDevice
from latprof.surrogate import Surrogate, fit
from latprof.tables import plan

__all__ = [
    "EXAMPLE",
    "MASKS",
    "STEPS",
    "Plain",
    "batch",
    "fake_surrogate",
    "plain_compressor",
    "run",
    "task",
    "train_in_two",
    "trainer_in_two",
]

MASKS, STEPS, BATCH = 60, 70, 64

EXAMPLE = (torch.zeros(1, 16),)


class Plain(nn.Module):
    """(B, 16) to (B, 4), without batch norm: half batches add up to whole ones."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__()
        self.first, self.second = nn.Linear(16, 48), nn.Linear(48, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.second(torch.relu(self.first(x.flatten(1))))))
        return logits


def fake_surrogate(model: nn.Module, inputs: Any, n_shapes: int = 80) -> Surrogate:
    """Of a device that is pure arithmetic, with steps of 8 channels."""
    workloads = trace(model, inputs).workloads()
    with FakeDevice(seed=3, stair=8) as device:
        rows = tuple(profile(device, plan(workloads, n_shapes=n_shapes)))
        return fit(LatencyTable(device.target, rows))


@cache
def _of_plain() -> Surrogate:
    return fake_surrogate(Plain(), EXAMPLE)


def plain_compressor(steps: int = 60, **more: Any) -> Compressor:
    """A Plain under masks, to 70% of its latency."""
    return Compressor(Plain(), EXAMPLE, _of_plain(), "70%", steps=steps, **more)


def task(n: int = 512) -> tuple[Tensor, Tensor]:
    """Inputs (n, 16) and labels (n,) that a small network can learn."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(n, 16, generator=generator)
    return x, (x @ torch.randn(16, 4, generator=generator)).argmax(1)


def batch(step: int, size: int = BATCH) -> tuple[Tensor, Tensor]:
    x, y = task()
    start = step * size % len(y)
    return x[start : start + size], y[start : start + size]


def run(comp: Compressor, steps: int = STEPS, **how: Any) -> Compressor:
    """The README's loop; ``how`` is accumulate, precision, scaler, ranks (first, of)."""
    accumulate, precision = how.get("accumulate", 1), how.get("precision")
    scaler = torch.amp.GradScaler("cpu", enabled=how.get("scaler", False))
    rank, ranks = how.get("ranks", (0, 1))
    # What DDP would copy from the first process must be equal by itself.
    net = DistributedDataParallel(comp, broadcast_buffers=False) if ranks > 1 else comp
    optimizer = torch.optim.AdamW(comp.parameters(), lr=3e-3)
    parts = accumulate * ranks
    for step in range(steps):
        inputs, labels = (torch.chunk(t, parts) for t in batch(step))
        for micro in range(accumulate):
            last = micro == accumulate - 1
            part = micro * ranks + rank
            wait = net.no_sync() if ranks > 1 and not last else contextlib.nullcontext()
            with wait:
                with torch.autocast("cpu", precision, enabled=precision is not None):
                    logits = net(inputs[part])
                    loss = nn.functional.cross_entropy(logits, labels[part]) / accumulate
                    if last:
                        loss = loss + comp.penalty()
                scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        comp.step()
        optimizer.zero_grad()
    return comp


def train_in_two(rank: int, folder: str) -> None:
    """Both starts of the masks; draws and measurements that differ between the processes."""
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    for init in ("importance", "uniform"):
        comp, asked = plain_compressor(MASKS, blocks=[Prune(init=init)]), []

        def measure(_: nn.Module, comp: Compressor = comp, asked: list[float] = asked) -> float:
            asked.append(1.2 + rank if not asked else 0.97)
            return comp.budget_cost * asked[-1]

        comp.measure = {"latency": measure}
        torch.manual_seed(100 + rank)
        run(comp, ranks=(rank, 2))
        result = {"state": comp.state_dict(), "counts": comp.counts(), "asked": asked}
        torch.save(result, f"{folder}/{init}{rank}.pt")
    distributed.destroy_process_group()


def trainer_in_two(rank: int, folder: str) -> None:
    """``train`` in one of two processes, as torchrun starts them."""
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": 29517}
    os.environ.update({k: str(v) for k, v in place.items()}, MASTER_ADDR="127.0.0.1")
    os.environ["ACCELERATE_USE_CPU"] = "true"
    comp = plain_compressor(MASKS)
    x, y = task()
    train(comp, TensorBatches(x.view(-1, 16, 1, 1), y, BATCH), TrainSettings(9, lr=3e-3))
    result = {"state": comp.state_dict(), "counts": comp.counts(), "alpha": comp.alpha.detach()}
    torch.save(result, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()
