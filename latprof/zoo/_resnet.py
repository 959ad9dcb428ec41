"""ResNet (He et al., 2015, arXiv:1512.03385), basic and bottleneck blocks.

``stem="small"`` is the authors' CIFAR stem (one 3x3 convolution), ``"imagenet"`` the 7x7 with
pooling.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from latprof.zoo._layers import ConvBnAct, images

__all__ = ["ResNet", "resnet18", "resnet50"]


class _Block(nn.Module):
    """Basic (two 3x3) where ``expansion`` is 1, else bottleneck (1x1, 3x3, 1x1)."""

    def __init__(self, c_in: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        c_out = width * expansion
        if expansion == 1:
            self.path = nn.Sequential(
                ConvBnAct(c_in, width, 3, stride), ConvBnAct(width, c_out, 3, act=None)
            )
        else:
            self.path = nn.Sequential(
                ConvBnAct(c_in, width),
                ConvBnAct(width, width, 3, stride),
                ConvBnAct(width, c_out, act=None),
            )
        same = stride == 1 and c_in == c_out
        self.shortcut = nn.Identity() if same else ConvBnAct(c_in, c_out, 1, stride, act=None)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.path(x) + self.shortcut(x))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """(B, in_channels, H, W) to (B, num_classes) logits."""

    def __init__(
        self,
        depths: tuple[int, ...],
        expansion: int,
        num_classes: int = 10,
        in_channels: int = 3,
        width: int = 64,
        stem: str = "small",
    ) -> None:
        super().__init__()
        if stem == "small":
            self.stem: nn.Module = ConvBnAct(in_channels, width, 3)
        else:
            self.stem = nn.Sequential(ConvBnAct(in_channels, width, 7, 2), nn.MaxPool2d(3, 2, 1))
        channels, blocks = width, []
        for stage, depth in enumerate(depths):
            for number in range(depth):
                stride = 2 if stage and not number else 1
                blocks.append(_Block(channels, width << stage, stride, expansion))
                channels = (width << stage) * expansion
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.blocks(self.stem(x))).flatten(1)  # (B, C)
        return self.classifier(x)  # type: ignore[no-any-return]


def resnet18(
    size: int = 32, in_channels: int = 3, **options: Any
) -> tuple[ResNet, tuple[Tensor, ...]]:
    """ResNet-18 and one image."""
    return ResNet((2, 2, 2, 2), 1, in_channels=in_channels, **options), images(in_channels, size)


def resnet50(
    size: int = 32, in_channels: int = 3, **options: Any
) -> tuple[ResNet, tuple[Tensor, ...]]:
    """ResNet-50 and one image."""
    return ResNet((3, 4, 6, 3), 4, in_channels=in_channels, **options), images(in_channels, size)
