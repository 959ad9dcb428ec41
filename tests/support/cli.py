"""A user's module and RUN.toml, and the command as its user types it."""

from __future__ import annotations

import json

import pytest

from latprof._cli import main

TINY = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    a, b = 32, 256
    layers = [nn.Conv2d(1, a, 3, 1, 1), nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, b, 1)]
    layers += [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(b, 4)]
    return nn.Sequential(*layers), (torch.zeros(1, 1, 16, 16),)

def data():
    from latprof.compress import TensorBatches
    dice = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (256,), generator=dice)
    images = torch.randn(256, 1, 16, 16, generator=dice) + labels.view(-1, 1, 1, 1)
    return TensorBatches(images, labels, 32), (images, labels)
"""
RUN = """
model = "tiny:net"
data = "tiny:data"
table = "tiny.parquet"
out = "run"
budget = "{budget}"

[masks]
epochs = 3

[fine_tune]
epochs = 1
"""


def run(patch: pytest.MonkeyPatch, *args: str) -> int:
    """The command's exit code."""
    patch.setattr("sys.argv", ["latprof", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def answer(
    patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str
) -> dict[str, object]:
    """What the command prints with --json, which is one line and nothing else."""
    capsys.readouterr()
    assert run(patch, *args, "--json") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return dict(json.loads(out))
