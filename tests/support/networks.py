"""Small networks, drawn at random, that connect ops in every way the tracer knows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BLOCKS", "Block", "DrawnNet"]


class Block(nn.Module):
    """One way to go from (B, c_in, H, W) to (B, c_out, H, W); ``kind`` is one of BLOCKS."""

    def __init__(self, kind: str, c: int) -> None:
        super().__init__()
        self.kind, self.c = kind, c
        one = lambda a, b, **k: nn.Conv2d(a, b, 1, **k)  # noqa: E731
        make = {
            "conv": lambda: [nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c)],
            "wider": lambda: [one(c, c + 4)],
            "depthwise": lambda: [nn.Conv2d(c, c, 3, padding=1, groups=c), nn.BatchNorm2d(c)],
            "multiplier": lambda: [nn.Conv2d(c, 2 * c, 3, padding=1, groups=c)],
            "grouped": lambda: [one(c, c, groups=4)],
            "group_norm": lambda: [nn.GroupNorm(4, c)],
            "instance_norm": lambda: [nn.InstanceNorm2d(c, affine=True)],
            "prelu": lambda: [nn.PReLU(c)],
            "residual": lambda: [one(c, 6), one(6, c)],
            "squeeze_excite": lambda: [one(c, 4), one(4, c)],
            "dense": lambda: [one(c, 4)],
            "inception": lambda: [one(c, 4), nn.Conv2d(c, 8, 3, padding=1)],
            "halves": lambda: [one(c // 2, c // 2)],
            "shuffle": lambda: [one(c, c)],
            "gate": lambda: [one(c, 2 * c)],
            "layer_scale": lambda: [],
            "channels_last": lambda: [nn.LayerNorm(c), nn.Linear(c, 12), nn.Linear(12, c)],
            "attention": lambda: [nn.Linear(c, 3 * 8), nn.Linear(8, c)],
            "transposed": lambda: [nn.ConvTranspose2d(c, 8, 2, 2)],
            "pool": lambda: [],
            "upsample": lambda: [],
            "unshuffle": lambda: [],
            "shuffle_pixels": lambda: [],
            "pad_channels": lambda: [one(c, c + 4)],
            "flip": lambda: [],
            "shared": lambda: [one(c, c)],
            "softmax": lambda: [],
        }[kind]
        self.layers = nn.ModuleList(make())
        if kind == "layer_scale":
            self.gamma = nn.Parameter(torch.rand(c, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        k, f = self.kind, list(self.layers)
        b, _, h, w = x.shape
        if k == "residual":
            return x + f[1](F.silu(f[0](x)))
        if k == "squeeze_excite":
            return x * torch.sigmoid(f[1](F.relu(f[0](x.mean((2, 3), keepdim=True)))))
        if k == "dense":
            return torch.cat([x, F.relu(f[0](x))], 1)
        if k == "inception":
            return torch.cat([f[0](x), F.max_pool2d(x, 3, 1, 1), f[1](x)], 1)
        if k == "halves":
            kept, changed = x.chunk(2, 1)
            return torch.cat([kept, f[0](changed)], 1)
        if k == "shuffle":
            return f[0](x).view(b, 2, -1, h, w).transpose(1, 2).reshape(b, -1, h, w)
        if k == "gate":
            value, gate = f[0](x).chunk(2, 1)
            return value * torch.sigmoid(gate)
        if k == "layer_scale":
            return x * self.gamma
        if k == "channels_last":
            y = x.permute(0, 2, 3, 1)
            return x + f[2](F.gelu(f[1](f[0](y)))).permute(0, 3, 1, 2)
        if k == "attention":
            tokens = x.flatten(2).transpose(1, 2)
            q, key, v = f[0](tokens).view(b, h * w, 3, -1, 4).permute(2, 0, 3, 1, 4)
            y = ((q @ key.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2).reshape(b, h * w, -1)
            return x + f[1](y).transpose(1, 2).reshape(x.shape)
        if k == "transposed":
            return F.avg_pool2d(f[0](x), 2)
        if k == "pool":
            return F.avg_pool2d(x, 3, 1, 1)
        if k == "upsample":
            return F.avg_pool2d(F.interpolate(x, scale_factor=2, mode="bilinear"), 2)
        if k == "unshuffle":
            return F.interpolate(F.pixel_unshuffle(x, 2), scale_factor=2)
        if k == "shuffle_pixels":
            return F.avg_pool2d(F.pixel_shuffle(x, 2), 2)
        if k == "pad_channels":
            return f[0](x) + F.pad(x, (0, 0, 0, 0, 2, 2))
        if k == "flip":
            return x.flip(3) + x.roll(1, 2)
        if k == "shared":
            return f[0](F.relu(f[0](x)))
        if k == "softmax":
            return x.softmax(1)
        for layer in f:
            x = layer(x)
        return F.relu(x)


BLOCKS = (
    "attention", "channels_last", "conv", "dense", "depthwise", "flip", "gate", "group_norm",
    "grouped", "halves", "inception", "instance_norm", "layer_scale", "multiplier", "pad_channels",
    "pool", "prelu", "residual", "shared", "shuffle", "shuffle_pixels", "softmax",
    "squeeze_excite", "transposed", "unshuffle", "upsample", "wider",
)  # fmt: skip


class DrawnNet(nn.Module):
    """A stem, then blocks as named, then a head; (B, 3, 8, 8) to two outputs."""

    def __init__(self, kinds: tuple[str, ...], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        x = self.stem(torch.zeros(1, 3, 8, 8))
        blocks: list[nn.Module] = []
        for kind in kinds:
            c = x.shape[1]
            if c % 4:  # what the blocks divide by
                blocks.append(nn.Conv2d(c, 16, 1))
                x = blocks[-1](x)
            if x.shape[1] > 64:
                blocks.append(nn.Conv2d(x.shape[1], 16, 1))
                x = blocks[-1](x)
            blocks.append(Block(kind, x.shape[1]).eval())
            with torch.no_grad():
                x = blocks[-1](x)
        self.blocks = nn.Sequential(*blocks)
        self.neck = nn.Conv2d(x.shape[1], 12, 1)
        self.head = nn.Linear(12 * 64, 5)
        self.side = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = F.relu(self.neck(self.blocks(F.relu(self.stem(x)))))
        return {"classes": self.head(y.flatten(1)), "side": self.side(y.mean((2, 3)))}
