"""Patterns of zeros as kernels want them: in the shrunk network and in its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from latprof import Compressor, Prune, Sparse
from latprof.compress import export
from latprof.compress.export import onnx_session
from latprof.compress.methods._select import n_of_m

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")

# the exporter runs code that warns of torch's own plans
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

X = torch.zeros(1, 3, 6, 6)
LAYERS = ("wide", "grouped", "point", "hidden", "head")


class Net(nn.Module):
    """3x3, 1x1, grouped and linear layers, one of them behind a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 40, 3, padding=1)
        self.grouped = nn.Conv2d(40, 40, 3, padding=1, groups=5)
        self.point = nn.Conv2d(40, 16, 1)
        self.hidden, self.head = nn.Linear(16 * 9, 32), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.wide(torch.relu(self.stem(x))))
        x = nn.functional.max_pool2d(torch.relu(self.point(torch.relu(self.grouped(x)))), 2)
        out: Tensor = self.head(torch.relu(self.hidden(x.flatten(1))))
        return out


def most_of(weight: NDArray[np.float32], m: int) -> int:
    """Most non-zeros of m neighboring inputs, of any output and place of the kernel."""
    out, inner = weight.shape[:2]
    assert inner % m == 0
    taps = weight.reshape(out, inner // m, m, -1)
    return int((taps != 0).sum(2).max())


def trained_and_shrunk(comp: Compressor) -> tuple[Any, Tensor]:
    """The shrunk network, which computes what the trained masks do, and inputs that show it."""
    optimizer = torch.optim.AdamW(comp.parameters(), lr=1e-3)
    while not comp.fixed:
        loss = comp(torch.randn(8, *X.shape[1:])).square().mean() + comp.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        comp.step()
    small = comp.eval().shrink()
    x = torch.randn(4, *X.shape[1:])
    with torch.no_grad():
        torch.testing.assert_close(small(x), comp(x), rtol=1e-4, atol=1e-5)
    return small, x


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8)])
@pytest.mark.parametrize("blocks", [(), (Prune(divisor=2),)])
def test_n_of_m_holds_of_the_channels_that_stay(
    tmp_path: Path, n: int, m: int, blocks: tuple[Prune, ...]
) -> None:
    torch.manual_seed(0)
    sparse = Sparse(pattern=f"{n}:{m}", layers=LAYERS)
    budget = "macs=75%" if blocks else "params=90%"
    comp = Compressor(Net(), X, None, budget, blocks=[*blocks, sparse], steps=12)
    small, _ = trained_and_shrunk(comp)
    under = {o.layer.path for o in comp.space.sparse}
    assert under == set(LAYERS)
    plain = export(small, X, tmp_path / "plain.onnx")
    held = {t.name: t for t in onnx.load(str(plain)).graph.initializer}
    for path in under:
        weight = small.get_parameter(f"{path}.weight").detach().numpy()
        assert most_of(weight, m) <= n, path
        full = weight.size * n // m
        assert np.count_nonzero(weight) >= 0.9 * full  # no more zeros than the pattern asks for
        assert most_of(onnx.numpy_helper.to_array(held[f"{path}.weight"]), m) <= n
    if blocks:
        assert small.wide.in_channels < 24
    packed = export(small, X, tmp_path / "packed.onnx", pack=True)
    assert packed.stat().st_size < plain.stat().st_size
    feed = {onnx_session(plain).get_inputs()[0].name: X.numpy() + 1}
    np.testing.assert_array_equal(
        onnx_session(packed).run(None, feed)[0], onnx_session(plain).run(None, feed)[0]
    )


def broken(weight: NDArray[np.float32], rows: int, columns: int) -> int:
    """Tiles of a weight that are neither all zeros nor without any."""
    out, inner = weight.shape[:2]
    tiles = weight.reshape(out // rows, rows, inner // columns, columns, -1) != 0
    each = tiles.sum((1, 3))
    return int(((each > 0) & (each < rows * columns)).sum())


@pytest.mark.parametrize("pattern", ["2x4", "4x1", "1x4"])
@pytest.mark.parametrize("blocks", [(), (Prune(divisor=2),)])
def test_tiles_hold_of_the_channels_that_stay(
    tmp_path: Path, pattern: str, blocks: tuple[Prune, ...]
) -> None:
    """Each lies in one place of a kernel, and in one group of a grouped convolution."""
    torch.manual_seed(0)
    rows, columns = map(int, pattern.split("x"))
    block = Sparse(pattern=pattern, layers=LAYERS)
    budget = ["macs=70%", "params=30%"] if blocks else "params=50%"
    comp = Compressor(Net(), X, None, budget, blocks=[*blocks, block], steps=12)
    assert {o.layer.path for o in comp.space.sparse} == set(LAYERS)
    small, x = trained_and_shrunk(comp)
    plain = export(small, X, tmp_path / "plain.onnx")
    held = {t.name: t for t in onnx.load(str(plain)).graph.initializer}
    for path in LAYERS:
        weight = small.get_parameter(f"{path}.weight").detach().numpy()
        assert broken(weight, rows, columns) == 0, path
        assert broken(onnx.numpy_helper.to_array(held[f"{path}.weight"]), rows, columns) == 0
    if blocks:
        assert small.wide.in_channels < 24
    again = Compressor(Net(), X, None, budget, blocks=[*blocks, block], steps=12).eval()
    again.load_state_dict(comp.state_dict())
    with torch.no_grad():
        assert torch.equal(again(x), comp(x))


def test_of_what_does_not_stay_n_of_m_are_counted_too() -> None:
    importance = torch.rand(5, 16, 9)
    gone = torch.tensor([1, 2, 3, 6, 7, 8, 9, 15])
    importance[:, gone] = -1.0
    chosen = n_of_m(importance, 2, 4).view(5, 16, 9)
    left = [c for c in range(16) if c not in gone.tolist()]
    for channels in (left, gone.tolist()):
        groups = chosen[:, channels].unflatten(1, (2, 4)).sum(2)
        assert bool((groups == 2).all())
    best = importance[:, left].unflatten(1, (2, 4)).topk(2, dim=2).values.amin(2)
    kept = (
        importance[:, left]
        .unflatten(1, (2, 4))
        .masked_fill(~chosen[:, left].unflatten(1, (2, 4)), 2.0)
    )
    assert torch.equal(kept.amin(2), best)
