"""Bytes of packed TFLite files: predicted, and written where litert-torch is there."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tables import planned
from torch import Tensor, nn

from latprof import Compressor, Prune, Quantize, Sparse
from latprof.compress import export
from latprof.errors import InfeasibleBudgetError
from latprof.surrogate import Surrogate, fit

X = torch.zeros(1, 8, 8, 16)


class Net(nn.Module):
    """For images (B, H, W, C)."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.stem = nn.Conv2d(16, width, 3, padding=1)
        self.deep = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.body = nn.Sequential(nn.Conv2d(width, 3 * width, 1), nn.BatchNorm2d(3 * width))
        self.head = nn.Linear(3 * width, 64)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.deep(torch.relu(self.stem(x.permute(0, 3, 1, 2)))))
        out: Tensor = self.head(torch.relu(self.body(x)).mean((2, 3)))
        return out


@cache
def surrogate(runtime: str) -> Surrogate:
    table = planned(n_shapes=60)
    return fit(replace(table, target=replace(table.target, runtime=runtime)))


def chosen(blocks: Any, budget: str) -> tuple[Compressor, float]:
    """A compressor whose widths are fixed, and the bytes it predicts."""
    torch.manual_seed(0)
    comp = Compressor(Net(), X, surrogate("tflite"), budget, blocks=blocks, steps=1)
    (comp(torch.randn(4, *X.shape[1:])).square().mean() + comp.penalty()).backward()
    comp.step()
    (goal,) = comp.goals.each
    return comp, goal.cost.exact(comp.counts())


BLOCKS = {
    "half": ((Quantize(bits=(16,)),), "bytes=80%"),
    "codes": ((Quantize(bits=(4, 8), grid="symmetric"),), "bytes=55%"),
    "codes per channel": ((Quantize(bits=(8,), scales="channel"),), "bytes=55%"),
    "zeros": ((Sparse(),), "bytes=55%"),
    "all": (
        (Prune(), Sparse(), Quantize(bits=(4, 8), grid="symmetric", scales="channel")),
        "bytes=20%",
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_the_file_is_as_large_as_predicted(name: str, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="pip install 'latprof[tflite-export]'")
    plain = export(Net().eval(), X, tmp_path / "plain.tflite").stat().st_size
    comp, predicted = chosen(*BLOCKS[name])
    constant = plain - comp.goals.each[0].original
    written = export(comp.shrink().eval(), X, tmp_path / "net.tflite", pack=True).stat().st_size
    assert written == pytest.approx(predicted + constant, rel=0.02)


def test_few_bits_take_no_less_than_eight() -> None:
    with pytest.raises(InfeasibleBudgetError, match=r"2\d(\.\d)?% to 100%"):
        chosen((Quantize(bits=(2, 4, 8)),), "bytes=15%")


@pytest.mark.parametrize(
    "block", [Quantize(bits=(4, 8), grid="even"), Quantize(bits=(4, 8), scales="block-32")]
)
def test_codes_that_the_format_has_not_save_nothing(block: Quantize) -> None:
    with pytest.raises(InfeasibleBudgetError):
        chosen((block,), "bytes=60%")
