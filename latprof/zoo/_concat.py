"""Networks that concatenate: DenseNet (arXiv:1608.06993), SqueezeNet (arXiv:1602.07360),
GoogLeNet (arXiv:1409.4842) and ShuffleNetV2 (arXiv:1807.11164), for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latprof.zoo._layers import ConvBnAct, images

__all__ = ["ConcatNet", "densenet", "googlenet", "shufflenet_v2", "squeezenet"]


class ConcatNet(nn.Module):
    """(B, in_channels, H, W) to (B, num_classes) logits."""

    def __init__(self, features: nn.Sequential, head: nn.Module) -> None:
        super().__init__()
        self.features, self.head = features, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]


class _Dense(nn.Module):
    """BN, ReLU, 1x1, BN, ReLU, 3x3; its output is appended to its input."""

    def __init__(self, c_in: int, growth: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.BatchNorm2d(c_in), nn.ReLU(), nn.Conv2d(c_in, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth), nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.path(x)], 1)


def densenet(
    size: int = 32, in_channels: int = 3, num_classes: int = 10, growth: int = 12, depth: int = 6
) -> tuple[ConcatNet, tuple[Tensor, ...]]:
    """A DenseNet-BC of three dense blocks and one image."""
    channels = 2 * growth
    layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)]
    for block in range(3):
        for _ in range(depth):
            layers.append(_Dense(channels, growth))
            channels += growth
        if block < 2:
            layers += [
                nn.BatchNorm2d(channels), nn.ReLU(),
                nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2),
            ]  # fmt: skip
            channels //= 2
    layers += [nn.BatchNorm2d(channels), nn.ReLU()]
    return ConcatNet(nn.Sequential(*layers), nn.Linear(channels, num_classes)), images(
        in_channels, size
    )


class _Fire(nn.Module):
    def __init__(self, c_in: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(c_in, squeezed, 1)
        self.expand1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.squeeze(x))
        return torch.cat([self.act(self.expand1(x)), self.act(self.expand3(x))], 1)


def squeezenet(
    size: int = 32, in_channels: int = 3, num_classes: int = 10
) -> tuple[ConcatNet, tuple[Tensor, ...]]:
    """SqueezeNet 1.1 and one image."""
    fires = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
    layers: list[nn.Module] = [nn.Conv2d(in_channels, 64, 3, padding=1), nn.ReLU()]
    channels = 64
    for number, (squeezed, expanded) in enumerate(fires):
        if number in (0, 2, 4):
            layers.append(nn.MaxPool2d(3, 2, 1))
        layers.append(_Fire(channels, squeezed, expanded))
        channels = 2 * expanded
    layers += [nn.Conv2d(channels, num_classes, 1), nn.ReLU()]
    net = ConcatNet(nn.Sequential(*layers), nn.Identity())
    for module in net.modules():
        if isinstance(module, nn.Conv2d):  # without batch norm the signal fades otherwise
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
    return net, images(in_channels, size)


class _Inception(nn.Module):
    def __init__(self, c_in: int, c1: int, c3r: int, c3: int, c5r: int, c5: int, cp: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([
            ConvBnAct(c_in, c1),
            nn.Sequential(ConvBnAct(c_in, c3r), ConvBnAct(c3r, c3, 3)),
            nn.Sequential(ConvBnAct(c_in, c5r), ConvBnAct(c5r, c5, 5)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), ConvBnAct(c_in, cp)),
        ])  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def googlenet(
    size: int = 32, in_channels: int = 3, num_classes: int = 10
) -> tuple[ConcatNet, tuple[Tensor, ...]]:
    """The first five inceptions of GoogLeNet behind a small stem, and one image."""
    features = nn.Sequential(
        ConvBnAct(in_channels, 64, 3), ConvBnAct(64, 192, 3), nn.MaxPool2d(3, 2, 1),
        _Inception(192, 64, 96, 128, 16, 32, 32), _Inception(256, 128, 128, 192, 32, 96, 64),
        nn.MaxPool2d(3, 2, 1),
        _Inception(480, 192, 96, 208, 16, 48, 64), _Inception(512, 160, 112, 224, 24, 64, 64),
        _Inception(512, 128, 128, 256, 24, 64, 64),
    )  # fmt: skip
    return ConcatNet(features, nn.Linear(512, num_classes)), images(in_channels, size)


class _Shuffle(nn.Module):
    """ShuffleNetV2's unit: half of the channels pass, the other half is convolved; shuffle."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        half, self.stride = c_out // 2, stride
        wide = c_in if stride > 1 else c_in // 2
        self.path = nn.Sequential(
            ConvBnAct(wide, half),
            ConvBnAct(half, half, 3, stride, groups=half, act=None),
            ConvBnAct(half, half),
        )
        self.down = (
            nn.Sequential(ConvBnAct(c_in, c_in, 3, 2, groups=c_in, act=None), ConvBnAct(c_in, half))
            if stride > 1
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            y = torch.cat([self.down(x), self.path(x)], 1)
        else:
            kept, changed = x.chunk(2, 1)
            y = torch.cat([kept, self.path(changed)], 1)
        b, c, h, w = y.shape
        return y.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


def shufflenet_v2(
    size: int = 32, in_channels: int = 3, num_classes: int = 10
) -> tuple[ConcatNet, tuple[Tensor, ...]]:
    """ShuffleNetV2 1.0x and one image."""
    layers: list[nn.Module] = [ConvBnAct(in_channels, 24, 3)]
    channels = 24
    for c_out, repeats in ((116, 4), (232, 8), (464, 4)):
        for number in range(repeats):
            layers.append(_Shuffle(channels, c_out, 1 if number else 2))
            channels = c_out
    layers.append(ConvBnAct(channels, 1024))
    return ConcatNet(nn.Sequential(*layers), nn.Linear(1024, num_classes)), images(
        in_channels, size
    )
