"""Bytes are those of a file: predicted, written, and corrected by what was written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from latprof import Compressor, Prune, Quantize, Sparse
from latprof.compress import export
from latprof.compress.export import load_check, onnx_session
from latprof.errors import InfeasibleBudgetError

pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")

# the exporter runs code that warns of torch's own plans
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

X = torch.zeros(1, 3, 8, 8)


class Net(nn.Module):
    """Convolutions with and without bias and batch norm, a batch norm alone, linear layers."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        a, b, c = widths
        self.stem = nn.Sequential(nn.Conv2d(3, a, 3, padding=1, bias=False), nn.BatchNorm2d(a))
        self.body = nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
        self.point = nn.Conv2d(b, c, 1)
        self.alone = nn.BatchNorm2d(c)
        self.hidden, self.head = nn.Linear(c, 2 * c), nn.Linear(2 * c, 10)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, -2, 2)
                nn.init.normal_(module.bias)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.normal_(module.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.point(self.body(torch.relu(self.stem(x)))))
        out: Tensor = self.head(torch.relu(self.hidden(self.alone(x).mean((2, 3)))))
        return out


def file_bytes(path: Path, model: nn.Module) -> int:
    return export(model.eval(), X, path, pack=True).stat().st_size


def chosen(comp: Compressor) -> Compressor:
    loss = comp(torch.randn(4, *X.shape[1:])).square().mean() + comp.penalty()
    loss.backward()
    comp.step()
    assert comp.fixed
    return comp


BLOCKS = [
    (Prune(),),
    (Sparse(),),
    (Sparse(pattern="4x1"),),
    (Quantize(bits=(4, 8, 16)),),
    (Quantize(bits=(1, 8), grid="symmetric"),),
    (Quantize(bits=(3, 6), grid="even"),),
    (Prune(), Sparse(), Quantize(bits=(4, 8))),
    (Quantize(bits=(4, 8), grid="symmetric", scales="channel"),),
    (Quantize(bits=(2, 8, 16), scales="channel", half="bfloat16"),),
    (Prune(), Quantize(bits=(4, 8), scales="block-32")),
    (Prune(), Sparse(), Quantize(bits=(3, 8), grid="symmetric", scales="block-32")),
]


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    widths=st.tuples(*[st.integers(4, 20).map(lambda n: 8 * n)] * 3),
    blocks=st.sampled_from(BLOCKS),
    budget=st.integers(25, 70),
    seed=st.integers(0, 1000),
)
def test_the_file_is_the_network_and_as_large_as_predicted(
    tmp_path_factory: Any, widths: tuple[int, int, int], blocks: Any, budget: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("size") / "net.onnx"
    torch.manual_seed(seed)
    make = partial(Compressor, Net(widths), X, None, blocks=blocks, steps=1)
    try:
        comp = make(f"bytes={budget}%", measure={"bytes": partial(file_bytes, path)})
    except InfeasibleBudgetError:
        return
    comp.measure.clear()  # what is predicted before any correction
    small = chosen(comp).shrink()
    (goal,) = comp.goals.each
    predicted, written = goal.cost.exact(comp.counts()), file_bytes(path, small)
    assert written == pytest.approx(predicted, rel=0.01)
    check = load_check(path)
    (got,) = onnx_session(path).run(None, check.inputs)
    x = torch.from_numpy(check.inputs["x"])
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(got), small(x), rtol=1e-4, atol=1e-5)


def test_a_budget_is_corrected_by_what_is_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    written = []

    def measure(model: nn.Module) -> float:
        written.append(1.25 * file_bytes(tmp_path / "net.onnx", model))  # another format's, say
        return written[-1]

    comp = chosen(
        Compressor(
            Net((64, 64, 64)), X, None, "bytes=50%", steps=1,
            blocks=[Prune(), Quantize(bits=(4, 8))], measure={"bytes": measure},
        )
    )  # fmt: skip
    (goal,) = comp.goals.each
    assert goal.original == pytest.approx(written[0])
    assert goal.limit == pytest.approx(written[0] / 2)
    assert 1.25 * file_bytes(tmp_path / "net.onnx", comp.shrink()) <= goal.limit


def test_without_a_measurement_bytes_are_those_of_the_tensors() -> None:
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64))
    comp = Compressor(model, torch.zeros(1, 64), None, "bytes=50%", steps=1)
    assert comp.original_cost == sum(4 * p.numel() for p in model.parameters())
