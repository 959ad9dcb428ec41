"""A U-Net (arXiv:1505.04597), a vision transformer (arXiv:2010.11929), an LSTM classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latprof.zoo._layers import ConvBnAct, images

__all__ = ["LstmClassifier", "UNet", "VisionTransformer", "lstm", "unet", "vit"]


class UNet(nn.Module):
    """(B, in_channels, H, W) to (B, num_classes, H, W), H and W multiples of 2**depth."""

    def __init__(self, in_channels: int, num_classes: int, width: int, depth: int) -> None:
        super().__init__()
        wide = [width << i for i in range(depth + 1)]
        self.down = nn.ModuleList(
            self._double(a, b) for a, b in zip([in_channels, *wide], wide, strict=False)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in wide[:-1])
        self.merge = nn.ModuleList(self._double(2 * w, w) for w in wide[:-1])
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, num_classes, 1)

    @staticmethod
    def _double(c_in: int, c_out: int) -> nn.Module:
        return nn.Sequential(ConvBnAct(c_in, c_out, 3), ConvBnAct(c_out, c_out, 3))

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for number, block in enumerate(self.down):
            x = block(self.pool(x) if number else x)
            skips.append(x)
        for up, merge, skip in zip(
            reversed(self.up), reversed(self.merge), reversed(skips[:-1]), strict=True
        ):
            x = merge(torch.cat([skip, up(x)], 1))
        return self.head(x)  # type: ignore[no-any-return]


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, H, T, D)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(b, t, -1))  # type: ignore[no-any-return]


class _Encoder(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = _Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class VisionTransformer(nn.Module):
    """(B, in_channels, size, size) to (B, num_classes) logits."""

    def __init__(
        self,
        size: int,
        patch: int,
        in_channels: int,
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.patch = nn.Conv2d(in_channels, dim, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.position = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, dim) * 0.02)
        self.blocks = nn.Sequential(*(_Encoder(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)  # (B, T, C)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x)[:, 0]))  # type: ignore[no-any-return]


class LstmClassifier(nn.Module):
    """(B, T, features) to (B, num_classes) logits from the last step."""

    def __init__(self, features: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, hidden)
        self.lstm = nn.LSTM(hidden, hidden, num_layers=2, batch_first=True)
        self.head = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(torch.relu(self.embed(x)))
        return self.head(y[:, -1])  # type: ignore[no-any-return]


def unet(
    size: int = 32, in_channels: int = 3, num_classes: int = 2, width: int = 16, depth: int = 3
) -> tuple[UNet, tuple[Tensor, ...]]:
    """A U-Net with batch norm and transposed convolutions, and one image."""
    return UNet(in_channels, num_classes, width, depth), images(in_channels, size)


def vit(
    size: int = 32, patch: int = 4, in_channels: int = 3, num_classes: int = 10,
    dim: int = 192, depth: int = 6, heads: int = 3,
) -> tuple[VisionTransformer, tuple[Tensor, ...]]:  # fmt: skip
    """A small vision transformer and one image."""
    model = VisionTransformer(size, patch, in_channels, num_classes, dim, depth, heads)
    return model, images(in_channels, size)


def lstm(
    steps: int = 28, features: int = 28, hidden: int = 64, num_classes: int = 10
) -> tuple[LstmClassifier, tuple[Tensor, ...]]:
    """A two-layer LSTM over the rows of an image, and one image."""
    return LstmClassifier(features, hidden, num_classes), (torch.zeros(1, steps, features),)
