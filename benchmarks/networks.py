"""Networks the benchmarks measure whole, written out so that nothing else need be installed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from latprof.zoo import mobilenet_v3_small

__all__ = ["NETWORKS", "resnet18", "transformer"]


class _Residual(nn.Module):
    """ResNet's basic block (He et al., 2015)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class _ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )  # fmt: skip
        widths = (64, 64, 128, 256, 512)
        self.blocks = nn.Sequential(*(
            _Residual(widths[i + (j > 0)], widths[i + 1], 2 if i and not j else 1)
            for i in range(4) for j in range(2)
        ))  # fmt: skip
        self.head = nn.Linear(512, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class _Block(nn.Module):
    """A pre-norm transformer block with attention written out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        q, k, v = (
            f(y).unflatten(-1, (-1, self.size)).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        attention = torch.softmax(q @ k.transpose(-2, -1) * self.size**-0.5, dim=-1)
        x = x + self.out((attention @ v).transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


def resnet18() -> tuple[nn.Module, tuple[Any, ...]]:
    """ResNet-18 at 112x112, a quarter of ImageNet's pixels."""
    return _ResNet18(), (torch.randn(1, 3, 112, 112),)


def transformer() -> tuple[nn.Module, tuple[Any, ...]]:
    """Four blocks of width 256 and 4 heads over 64 tokens."""
    blocks = nn.Sequential(*(_Block(256, 4) for _ in range(4)))
    return blocks, (torch.randn(1, 64, 256),)


NETWORKS = {
    "mobilenet_v3_small": mobilenet_v3_small,
    "resnet18": resnet18,
    "transformer": transformer,
}
