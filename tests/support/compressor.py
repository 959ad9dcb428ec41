"""A small network, its fake device's surrogate, its data, and the loop of the README."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from latprof import Compressor, LatencyTable
from latprof.compress import Latency, TensorBatches, trace
from latprof.devices import profile
from latprof.devices._fake import FakeDevice
from latprof.surrogate import Surrogate, fit
from latprof.tables import plan

EXAMPLE = (torch.zeros(1, 1, 12, 12),)


class Net(nn.Module):
    """A stem, a depthwise residual block with squeeze-excite, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16))
        self.expand = nn.Sequential(nn.Conv2d(16, 48, 1, bias=False), nn.BatchNorm2d(48))
        self.depthwise = nn.Conv2d(48, 48, 3, padding=1, groups=48)
        self.squeeze, self.excite = nn.Conv2d(48, 16, 1), nn.Conv2d(16, 48, 1)
        self.project = nn.Sequential(nn.Conv2d(48, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = torch.relu(self.depthwise(torch.relu(self.expand(x))))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return self.head((x + self.project(y * gate)).mean((2, 3)))


@cache
def surrogate() -> Surrogate:
    torch.manual_seed(0)
    workloads = trace(Net(), EXAMPLE).workloads()
    with FakeDevice(seed=3, stair=8) as device:
        rows = tuple(profile(device, plan(workloads, n_shapes=80)))
        return fit(LatencyTable(device.target, rows))


def network() -> Net:
    torch.manual_seed(1)
    model = Net()
    model.train()
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(32, 1, 12, 12))  # non-trivial batch-norm statistics
    return model.eval()


def batches(batch: int = 32) -> TensorBatches:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (320,), generator=generator)
    images = torch.randn(320, 1, 12, 12, generator=generator) + labels.view(-1, 1, 1, 1)
    return TensorBatches(images, labels, batch)


def run(
    comp: Compressor,
    steps: int,
    make: type[torch.optim.Optimizer],
    lr: float,
    forward: nn.Module | None = None,
    share: slice = slice(None),
) -> None:
    """The loop of the README, over ``share`` of each batch, through ``forward`` if not ``comp``."""
    through = comp if forward is None else forward
    optimizer = make(comp.parameters(), lr=lr)  # type: ignore[call-arg]
    done = 0
    while done < steps:
        for x, y in batches().epoch(done):
            logits = through(x[share])
            loss = nn.functional.cross_entropy(logits, y[share]) + comp.penalty()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            comp.step()
            done += 1


def compressor(steps: int, slower: float = 1.0) -> Compressor:
    """Masks over ``network``, on a device ``slower`` than its surrogate believes."""

    def measure(small: nn.Module) -> float:
        workloads = trace(small, EXAMPLE).workloads()
        return slower * float(surrogate().predict_model(workloads).latency_s)

    return Compressor(network(), EXAMPLE, Latency(surrogate(), measure=measure), "75%", steps=steps)


def train_a_half(rank: int, folder: Path, steps: int) -> None:
    """One of two processes: half of each batch, and a stopwatch of its own."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    comp = compressor(steps, slower=1.1 + 0.2 * rank).train()
    torch.manual_seed(rank)
    both = DistributedDataParallel(comp)
    run(comp, steps + 10, torch.optim.SGD, 1e-2, forward=both, share=slice(rank, None, 2))
    torch.save(comp.state_dict(), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
