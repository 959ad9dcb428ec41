"""MobileNetV3 (Howard et al., 2019, arXiv:1905.02244, Tables 1 and 2) for small images.

The published blocks, widths, squeeze-excites and activations. What differs, because inputs are
28x28 or 32x32 and training takes a few epochs: the stem's stride is 1, and batch norm keeps
torch's momentum.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["MobileNetV3", "mobilenet_v3_large", "mobilenet_v3_small"]

# kernel, expanded channels, output channels, squeeze-excite, activation, stride
_SMALL = (
    (3, 16, 16, True, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 2),
    (3, 88, 24, False, nn.ReLU, 1),
    (5, 96, 40, True, nn.Hardswish, 2),
    (5, 240, 40, True, nn.Hardswish, 1),
    (5, 240, 40, True, nn.Hardswish, 1),
    (5, 120, 48, True, nn.Hardswish, 1),
    (5, 144, 48, True, nn.Hardswish, 1),
    (5, 288, 96, True, nn.Hardswish, 2),
    (5, 576, 96, True, nn.Hardswish, 1),
    (5, 576, 96, True, nn.Hardswish, 1),
)
_LARGE = (
    (3, 16, 16, False, nn.ReLU, 1),
    (3, 64, 24, False, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 1),
    (5, 72, 40, True, nn.ReLU, 2),
    (5, 120, 40, True, nn.ReLU, 1),
    (5, 120, 40, True, nn.ReLU, 1),
    (3, 240, 80, False, nn.Hardswish, 2),
    (3, 200, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 480, 112, True, nn.Hardswish, 1),
    (3, 672, 112, True, nn.Hardswish, 1),
    (5, 672, 160, True, nn.Hardswish, 2),
    (5, 960, 160, True, nn.Hardswish, 1),
    (5, 960, 160, True, nn.Hardswish, 1),
)


class _ConvBnAct(nn.Sequential):
    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: type[nn.Module] | None = None,
    ) -> None:
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        norm = nn.BatchNorm2d(c_out, eps=1e-3)
        super().__init__(conv, norm, *([act()] if act else []))


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _divisible(channels / 4)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.relu = nn.ReLU()
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        gate: Tensor = self.gate(self.expand(self.relu(self.reduce(pooled))))
        return x * gate


class _InvertedResidual(nn.Module):
    def __init__(
        self,
        c_in: int,
        kernel: int,
        expanded: int,
        c_out: int,
        squeeze_excite: bool,
        act: type[nn.Module],
        stride: int,
    ) -> None:
        super().__init__()
        self.expand = _ConvBnAct(c_in, expanded, act=act) if expanded != c_in else nn.Identity()
        self.depthwise = _ConvBnAct(expanded, expanded, kernel, stride, groups=expanded, act=act)
        self.squeeze_excite = _SqueezeExcite(expanded) if squeeze_excite else nn.Identity()
        self.project = _ConvBnAct(expanded, c_out)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.squeeze_excite(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class MobileNetV3(nn.Module):
    """(B, in_channels, H, W) to (B, num_classes) logits.

    Args:
        blocks: rows of kernel, expanded, output, squeeze-excite, activation, stride.
        head: channels of the last linear layer's input.
        width: multiplies every channel count, kept divisible by 8, as published.
    """

    def __init__(
        self,
        blocks: tuple[tuple[int, int, int, bool, type[nn.Module], int], ...],
        head: int,
        num_classes: int = 10,
        in_channels: int = 1,
        width: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        channels = _divisible(16 * width)
        self.stem = _ConvBnAct(in_channels, channels, 3, act=nn.Hardswish)
        stages = []
        for kernel, expanded, c_out, squeeze_excite, act, stride in blocks:
            wide, out = _divisible(expanded * width), _divisible(c_out * width)
            stages.append(
                _InvertedResidual(channels, kernel, wide, out, squeeze_excite, act, stride)
            )
            channels = out
        self.blocks = nn.Sequential(*stages)
        self.last = _ConvBnAct(channels, 6 * channels, act=nn.Hardswish)
        self.head = nn.Linear(6 * channels, head)
        self.act = nn.Hardswish()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(head, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.blocks(self.stem(x))).mean((2, 3))  # (B, C)
        return self.classifier(self.dropout(self.act(self.head(x))))  # type: ignore[no-any-return]


def mobilenet_v3_small(**options: float) -> tuple[MobileNetV3, tuple[Tensor, ...]]:
    """MobileNetV3-Small and one example input, (1, 1, 28, 28) unless in_channels says more."""
    return _build(_SMALL, 1024, options)


def mobilenet_v3_large(**options: float) -> tuple[MobileNetV3, tuple[Tensor, ...]]:
    """MobileNetV3-Large and one example input, (1, 1, 28, 28) unless in_channels says more."""
    return _build(_LARGE, 1280, options)


def _build(
    blocks: tuple[tuple[int, int, int, bool, type[nn.Module], int], ...],
    head: int,
    options: dict[str, float],
) -> tuple[MobileNetV3, tuple[Tensor, ...]]:
    model = MobileNetV3(blocks, head, **options)  # type: ignore[arg-type]
    channels = int(options.get("in_channels", 1))
    size = 28 if channels == 1 else 32
    return model, (torch.zeros(1, channels, size, size),)


def _divisible(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of divisor, never more than 10% below ``channels`` (as published)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
