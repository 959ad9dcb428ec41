"""One small network per kind of layer: ``layer`` is of that kind, between two plain ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["KINDS", "KindNet", "make_net"]

#: {kind: how the layer is made}; 32 channels go in, and 64 come out unless groups forbid it.
KINDS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(32, 64),
    "conv1d": lambda: nn.Conv1d(32, 64, 3, padding=1),
    "conv2d": lambda: nn.Conv2d(32, 64, 3, padding=1),
    "conv2d 1x1": lambda: nn.Conv2d(32, 64, 1),
    "conv2d strided": lambda: nn.Conv2d(32, 64, (3, 1), stride=2, padding=(1, 0)),
    "conv2d reflect": lambda: nn.Conv2d(32, 64, 3, padding=1, padding_mode="reflect"),
    "conv2d same": lambda: nn.Conv2d(32, 64, 3, padding="same"),
    "conv3d": lambda: nn.Conv3d(32, 64, 3, padding=1),
    "grouped": lambda: nn.Conv2d(32, 64, 3, padding=1, groups=2),
    "grouped 1x1": lambda: nn.Conv2d(32, 64, 1, groups=4),
    "depthwise": lambda: nn.Conv2d(32, 32, 3, padding=1, groups=32),
    "depthwise x2": lambda: nn.Conv2d(32, 64, 3, padding=1, groups=32),
    "depthwise 1d": lambda: nn.Conv1d(32, 32, 3, padding=1, groups=32),
    "transposed 1d": lambda: nn.ConvTranspose1d(32, 64, 3, padding=1),
    "transposed": lambda: nn.ConvTranspose2d(32, 64, 2, stride=2),
    "transposed 3d": lambda: nn.ConvTranspose3d(32, 64, 2, stride=2),
    "transposed grouped": lambda: nn.ConvTranspose2d(32, 64, 3, padding=1, groups=2),
    "transposed out": lambda: nn.ConvTranspose2d(
        32, 64, 3, stride=2, padding=1, output_padding=1, bias=False
    ),
    "embedding": lambda: nn.Embedding(96, 64, padding_idx=3),
    "embedding tied": lambda: nn.Embedding(96, 64),
    "embedding bag": lambda: nn.EmbeddingBag(96, 64),
    "lstm": lambda: nn.LSTM(32, 64, batch_first=True),
    "lstm deep": lambda: nn.LSTM(32, 32, num_layers=2, bidirectional=True, batch_first=True),
    "gru": lambda: nn.GRU(32, 64, batch_first=True),
    "rnn": lambda: nn.RNN(32, 64, batch_first=True),
    "attention": lambda: nn.MultiheadAttention(32, 4, batch_first=True),
    "bilinear": lambda: nn.Bilinear(32, 32, 64),
    "gpt2 conv1d": lambda: _conv1d(),
}

_TOKENS = ("embedding", "embedding tied", "embedding bag")
_SEQUENCES = ("linear", "lstm", "lstm deep", "gru", "rnn", "attention", "bilinear", "gpt2 conv1d")


def _conv1d() -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    return Conv1D(64, 32)


class KindNet(nn.Module):
    """``before`` makes 32 channels, ``layer`` reads them, ``after`` reads what it makes."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.layer = KINDS[kind]()
        if kind in _TOKENS:
            self.after: nn.Module = nn.Linear(64, 32)
            self.head = nn.Linear(32, 8)
            if kind == "embedding tied":
                self.after = nn.Linear(64, 64)
                self.head = nn.Linear(64, 96, bias=False)
                self.head.weight = self.layer.weight
            return
        if kind in _SEQUENCES:
            self.before: nn.Module = nn.Linear(12, 32)
            wide = 32 if kind == "attention" else 64
            self.after = nn.Linear(wide, 32)
        else:
            weight = self.layer.weight
            conv = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[weight.ndim]
            self.before = conv(3, 32, 1)
            self.after = conv(self.layer.out_channels, 32, 1)
        self.head = nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        kind = self.kind
        if kind in _TOKENS:
            y = torch.relu(self.after(self.layer(x)))
        elif kind == "attention":
            y = torch.relu(self.before(x))
            y = self.after(self.layer(y, y, y, need_weights=False)[0])
        elif kind == "bilinear":
            y = torch.relu(self.before(x))
            y = self.after(torch.relu(self.layer(y, y)))
        elif kind in ("lstm", "lstm deep", "gru", "rnn"):
            y = self.after(self.layer(torch.relu(self.before(x)))[0])
        else:
            y = self.after(torch.relu(self.layer(torch.relu(self.before(x)))))
        if kind not in _TOKENS and kind not in _SEQUENCES:
            y = y.flatten(2).mean(2)
        elif y.ndim > 2 and kind != "embedding tied":
            y = y.mean(1)
        out: Tensor = self.head(torch.relu(y))
        return out


def make_net(kind: str) -> tuple[nn.Module, Tensor]:
    """The network, with weights that differ from run to run by torch's seed, and an input."""
    net = KindNet(kind).eval()
    if kind in _TOKENS:
        return net, torch.arange(20).reshape(2, 10) * 4 % 96
    if kind in _SEQUENCES:
        return net, torch.randn(2, 5, 12)
    return net, torch.randn(2, 3, *[6] * (net.layer.weight.ndim - 2))
