"""What cannot be traced ends in one line that names the module, the op and the way out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention

from latprof.compress import trace
from latprof.errors import TraceError


@dataclasses.dataclass
class Output:
    logits: Tensor
    features: Tensor | None = None


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 4)

    def scores(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(F.relu(self.a(x)))
        return y


class ReturnsADataclass(_Net):
    def forward(self, x: Tensor) -> Output:
        return Output(self.scores(x))


class Selects(_Net):
    def forward(self, x: Tensor) -> Tensor:
        y = self.scores(x)
        return y[y[:, 0] > 0]


class _Finds(nn.Module):
    def forward(self, y: Tensor) -> Tensor:
        return torch.nonzero(y)


class Looks(_Net):
    def __init__(self) -> None:
        super().__init__()
        self.finds = _Finds()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.finds(self.scores(x))
        return found


class Detects(_Net):
    """As detectors do: a list of images in, a list of dicts of boxes of any number out."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        found = []
        for image in images:
            scores = self.scores(image)
            found.append({"scores": scores[scores.sigmoid() > 0.5]})
        return found


@pytest.mark.parametrize(
    ("model", "inputs", "said"),
    [
        (
            ReturnsADataclass(),
            torch.zeros(2, 8),
            r"returns Output, .* call torch.export.register_dataclass\(Output\) first",
        ),
        (Selects(), torch.zeros(2, 8), "index makes a tensor whose size depends on values in"),
        (
            Looks(),
            torch.zeros(2, 8),
            "nonzero in finds makes a tensor whose size depends on .* end",
        ),
        (Detects(), ([torch.zeros(3, 8), torch.zeros(3, 8)],), "index makes a tensor whose size"),
    ],
)
def test_refusals_are_one_line(model: nn.Module, inputs: Any, said: str) -> None:
    with pytest.raises(TraceError, match=said) as caught:
        trace(model, inputs)
    assert "\n" not in str(caught.value)


class Chooses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        self.out = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        ways = (lambda z: F.relu(self.b(z)), lambda z: F.relu(self.c(z)))
        return self.out(torch.cond(x.sum() > 0, *ways, (y,)))


class Flex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (4, 4)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        return self.out(flex_attention(q, k, v).transpose(1, 2).flatten(2))


def test_what_a_higher_order_op_is_given_stays_and_is_listed() -> None:
    graph = trace(Chooses(), torch.randn(2, 8))
    reason = "cond is an op that channels cannot be followed through"
    assert {g.name for g in graph.groups if g.reason == reason} == {"a", "b", "c"}
    assert graph.opaque == {"cond"}
    assert "1 cond" in graph.uncounted


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_is_counted_and_its_inputs_stay() -> None:
    graph = trace(Flex(), torch.randn(1, 6, 16))
    assert graph.stats().macs == 6 * 16 * 48 + 2 * 4 * 6 * 6 * 4 + 6 * 16 * 4
    (heads,) = (g for g in graph.groups if g.name == "qkv")
    assert heads.reason == "flex_attention is an op that channels cannot be followed through"


def test_inputs_without_dims_and_a_model_that_is_one_layer() -> None:
    class Scaled(_Net):
        def forward(self, x: Tensor, factor: Tensor) -> Tensor:
            return self.scores(x) * factor

    graph = trace(Scaled(), (torch.zeros(2, 8), torch.tensor(2.0)))
    assert [g.name for g in graph.prunable] == ["a"]
    assert trace(nn.Linear(8, 4), torch.zeros(2, 8)).prunable == ()


def test_a_model_that_insists_on_float32() -> None:
    class Insists(_Net):
        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x.to(torch.float32))
            return self.b(F.relu(y) @ torch.eye(16, dtype=torch.float32)).float()

    graph = trace(Insists(), torch.zeros(2, 8))
    assert all(g.reason for g in graph.groups if not g.prunable)
