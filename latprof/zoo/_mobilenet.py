"""MobileNetV1 (arXiv:1704.04861) and V2 (arXiv:1801.04381), stem of stride 1 for small images."""

from __future__ import annotations

from torch import Tensor, nn

from latprof.zoo._layers import ConvBnAct, images

__all__ = ["MobileNet", "mobilenet_v1", "mobilenet_v2"]

# V1: output channels, stride
_V1 = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
# V2: expansion, output channels, repeats, stride
_V2 = (
    (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2),
    (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


class _InvertedResidual(nn.Module):
    def __init__(self, c_in: int, c_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = c_in * expansion
        self.path = nn.Sequential(
            ConvBnAct(c_in, wide, act=nn.ReLU6) if expansion > 1 else nn.Identity(),
            ConvBnAct(wide, wide, 3, stride, groups=wide, act=nn.ReLU6),
            ConvBnAct(wide, c_out, act=None),
        )
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.path(x)
        return x + y if self.residual else y


class MobileNet(nn.Module):
    """(B, in_channels, H, W) to (B, num_classes) logits."""

    def __init__(self, blocks: nn.Sequential, channels: int, num_classes: int = 10) -> None:
        super().__init__()
        self.blocks = blocks
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(x).mean((2, 3)))  # type: ignore[no-any-return]


def mobilenet_v1(
    size: int = 32, in_channels: int = 3, num_classes: int = 10, width: float = 1.0
) -> tuple[MobileNet, tuple[Tensor, ...]]:
    """MobileNetV1 and one image."""
    channels = int(32 * width)
    blocks: list[nn.Module] = [ConvBnAct(in_channels, channels, 3)]
    for wide, stride in _V1:
        c_out = int(wide * width)
        blocks += [
            ConvBnAct(channels, channels, 3, stride, groups=channels),
            ConvBnAct(channels, c_out),
        ]
        channels = c_out
    return MobileNet(nn.Sequential(*blocks), channels, num_classes), images(in_channels, size)


def mobilenet_v2(
    size: int = 32, in_channels: int = 3, num_classes: int = 10, width: float = 1.0
) -> tuple[MobileNet, tuple[Tensor, ...]]:
    """MobileNetV2 and one image."""
    channels, last = int(32 * width), int(1280 * width)
    blocks: list[nn.Module] = [ConvBnAct(in_channels, channels, 3, act=nn.ReLU6)]
    for expansion, wide, repeats, first_stride in _V2:
        for number in range(repeats):
            stride = 1 if number else first_stride
            c_out = int(wide * width)
            blocks.append(_InvertedResidual(channels, c_out, expansion, stride))
            channels = c_out
    blocks.append(ConvBnAct(channels, last, act=nn.ReLU6))
    return MobileNet(nn.Sequential(*blocks), last, num_classes), images(in_channels, size)
