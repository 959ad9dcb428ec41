"""Groups that used to stay for no good reason, and the reasons that are left."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.architectures import random_masks, randomise
from torch import Tensor, nn
from torch.nn import functional as F

from latprof.compress import Graph, load_shrunk, recipe_of, shrink, trace

IMAGE = torch.zeros(1, 3, 16, 16)


def prunable(graph: Graph) -> dict[str, int]:
    return {g.name: g.size for g in graph.prunable}


class Frozen(nn.Module):
    """Batch norm whose statistics are buffers that the forward computes with, as DETR's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        variance = self.running_var.reshape(1, -1, 1, 1)
        scale = self.weight.reshape(1, -1, 1, 1) * (variance + 1e-5).rsqrt()
        bias = self.bias.reshape(1, -1, 1, 1)
        return x * scale + (bias - self.running_mean.reshape(1, -1, 1, 1) * scale)


class Gate(nn.Module):
    """One channel times sixteen, as in attention U-Nets."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.g = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 1)
        self.p, self.out = nn.Conv2d(8, 1, 1), nn.Conv2d(16, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        return self.out(y * torch.sigmoid(self.p(F.relu(self.g(y)))))


class AttentionPooling(nn.Module):
    """A weighted mean over places, with one weight for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.score, self.out = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 1, 1), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        weights = self.score(y).flatten(2).softmax(-1)  # (B, 1, HW)
        return self.out((y.flatten(2) @ weights.transpose(1, 2)).squeeze(2))


class ConcurrentExcitation(nn.Module):
    """scSE: a gate per place and a gate per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.place = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 1, 1)
        self.down, self.up = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.out = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        channel = self.up(F.relu(self.down(y.mean((2, 3), keepdim=True)))).sigmoid()
        return self.out(y * self.place(y).sigmoid() + y * channel)


class Unfolded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.unfold, self.out = (
            nn.Conv2d(3, 16, 3),
            nn.Unfold(2, stride=2),
            nn.Linear(64, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.unfold(F.relu(self.a(x))).transpose(1, 2))


class _Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor, shape: tuple[int, int]) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, *shape).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return x + self.out(y.reshape(*x.shape[:2], -1))


class _Middle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = _Inner()

    def forward(self, x: Tensor, shape: tuple[int, int]) -> Tensor:
        return self.inner(x, shape)


class HeadsInATuple(nn.Module):
    """The number of heads stands in a tuple, two modules above the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = (2, 8)
        self.middle, self.head = _Middle(), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(x, self.shape))


class NormOfTokens(nn.Module):
    """Batch norm over the tokens of all images, put back into the shape of what came, as LeViT's;
    a bias of which a part is zeroed in place, as Swin V2's."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.down.bias.clone()
        bias[2:4].zero_()
        y = self.up(x)
        y = self.norm(y.flatten(0, 1)).reshape_as(y)
        y = F.relu(y.flatten(0, 1)).view_as(y)
        return F.linear(y, self.down.weight, bias)


def _frozen() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3),
        Frozen(16),
        nn.ReLU(),
        nn.Conv2d(16, 12, 3),
        Frozen(12),
        nn.Conv2d(12, 4, 1),
    )


@pytest.mark.parametrize(
    ("make", "inputs", "found"),
    [
        (Gate, IMAGE, {"a": 16, "g": 8}),
        (AttentionPooling, IMAGE, {"a": 16}),
        (ConcurrentExcitation, IMAGE, {"a": 16, "down": 4}),
        (_frozen, IMAGE, {"0": 16, "3": 12}),
        (Unfolded, IMAGE, {"a": 16}),
        (NormOfTokens, torch.zeros(2, 6, 8), {"up": 16}),
        (HeadsInATuple, torch.zeros(1, 6, 16), {"middle.inner.qkv": 2}),
    ],
)
def test_groups_that_can_go_do(
    make: Callable[[], nn.Module], inputs: Tensor, found: dict[str, int]
) -> None:
    torch.manual_seed(0)
    model = randomise(make())
    graph = trace(model, inputs)
    assert prunable(graph) == found, [g.reason for g in graph.groups]
    generator = torch.Generator().manual_seed(0)
    for kind in ("random", "one"):
        small = shrink(model, graph, random_masks(graph, generator, kind))  # proves it
        again = load_shrunk(make(), recipe_of(model, small))
        again.load_state_dict(small.state_dict())


def test_what_keeps_one_channel_is_said() -> None:
    graph = trace(randomise(Gate()), IMAGE)
    (gate,) = (g for g in graph.groups if g.name == "p")
    assert gate.reason == "mul spreads this one channel over several"


def test_the_reason_is_that_of_the_last_try() -> None:
    """The first try fails in the view; with the number of heads scaled, a constant is left."""

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads, self.up, self.down = 4, nn.Linear(8, 16), nn.Linear(16, 8)
            self.register_buffer("mix", torch.eye(4) + 0.1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.up(x).view(-1, self.heads, 4)
            return self.down((y * y.sum(2, keepdim=True)).reshape(-1, 16))

    graph = trace(randomise(Constant()), torch.zeros(2, 8))
    (group,) = (g for g in graph.groups if g.name == "up")
    assert not group.prunable
    assert "'[-1, 4, 4]'" not in group.reason
    assert "[-1, 16]" in group.reason


def test_inputs_that_must_be_positive_and_outputs_that_are_infinite() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 16, 3), nn.Linear(16, 4)
            self.register_buffer("illegal", torch.tensor([False, True, False, False]))

        def forward(self, power: Tensor) -> Tensor:
            y = self.b(F.relu(self.a(power.log())).mean((2, 3)))
            return y.masked_fill(self.illegal, float("-inf"))

    assert prunable(trace(Odd(), torch.rand(1, 1, 8, 8) + 0.1)) == {"a": 16}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_code_that_takes_channels_by_position_is_found_in_any_precision(dtype: torch.dtype) -> None:
    class ByPosition(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.mid, self.out = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = F.relu(self.enter(x))
            y = torch.cat([y[:, :16] * 1.3, y[:, 16:]], 1)
            return self.out(F.relu(self.mid(y)))

    torch.manual_seed(1)
    graph = trace(ByPosition().to(dtype), torch.randn(64, 8, dtype=dtype))
    assert set(prunable(graph)) == {"enter#2", "mid"}
