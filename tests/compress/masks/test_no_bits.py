"""A width of 0 bits: a layer of a residual block that may become zeros."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from latprof import Compressor, Prune, Quantize, Sparse
from latprof.compress import export
from latprof.compress.export import check_folded, load_check, onnx_session
from latprof.errors import UsageError

pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")

# the exporter runs code that warns of torch's own plans
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

X = torch.zeros(1, 8, 8, 8)


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, channels: int, gain: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())
        self.last = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.constant_(self.norm.weight, gain)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.norm(self.last(self.first(x)))
        return found


class Net(nn.Sequential):
    """Two residual blocks, of which the second matters little."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        blocks = [Residual(32, 1.0), Residual(32, 1e-3)]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)]
        super().__init__(nn.Conv2d(8, 32, 3, padding=1), *blocks, *head)


def file_bytes(path: Path, model: nn.Module) -> int:
    return export(model.eval(), X, path, pack=True).stat().st_size


def chosen(budget: str, *blocks: Prune | Sparse | Quantize, path: Path | None = None) -> Compressor:
    measure = {} if path is None else {"bytes": partial(file_bytes, path)}
    comp = Compressor(Net(), X, None, budget, blocks=blocks, steps=1, measure=measure)
    comp.measure.clear()
    (comp(torch.randn(4, *X.shape[1:])).square().mean() + comp.penalty()).backward()
    comp.step()
    return comp


@pytest.mark.parametrize(
    ("budget", "blocks"),
    [
        ("bytes=12%", (Quantize(bits=(0, 4, 8)),)),
        ("bytes=12%", (Quantize(bits=(0, 2, 8), scales="channel"),)),
        ("bytes=10%", (Sparse(), Quantize(bits=(0, 4, 8)))),
        ("bytes=7%", (Prune(divisor=16), Quantize(bits=(0, 4), grid="symmetric"))),
    ],
)
def test_layers_of_the_least_important_block_vanish(
    budget: str, blocks: tuple[Prune | Sparse | Quantize, ...], tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    comp = chosen(budget, *blocks, path=path)
    small = comp.shrink()
    gone = {n for n, p in small.named_parameters() if p.ndim > 1 and not p.any()}
    assert gone
    assert gone <= {"1.first.0.weight", "1.last.weight", "2.first.0.weight", "2.last.weight"}
    assert gone & {"2.first.0.weight", "2.last.weight"}
    (goal,) = comp.goals.each
    predicted, written = goal.cost.exact(comp.counts()), file_bytes(path, small)
    assert written == pytest.approx(predicted, rel=0.03)  # of a file of a few kB
    check_folded(path)
    check = load_check(path)
    (got,) = onnx_session(path).run(None, check.inputs)
    with torch.no_grad():
        wanted = small(*map(torch.from_numpy, check.inputs.values()))
    torch.testing.assert_close(torch.from_numpy(got), wanted, rtol=1e-4, atol=1e-5)


def test_other_layers_keep_a_width() -> None:
    comp = Compressor(Net(), X, None, "bytes=50%", blocks=[Quantize(bits=(0, 2))], steps=1)
    least = {o.layer.path: o.group.minimum for o in comp.space.bits}
    inside = [f"{block}.{layer}" for block in (1, 2) for layer in ("first.0", "last")]
    assert least == {"0": 2, "5": 2} | dict.fromkeys(inside, 1)


def test_before_the_first_step_nothing_changes() -> None:
    comp = Compressor(Net(), X, None, "bytes=50%", blocks=[Quantize(bits=(0, 4))]).eval()
    x = torch.randn(2, *X.shape[1:])
    with torch.no_grad():
        torch.testing.assert_close(comp(x), Net().eval()(x))


def test_a_network_without_residual_blocks_refuses_it() -> None:
    model = nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1))
    with pytest.raises(UsageError, match="none of its layers lies in a residual block"):
        Compressor(model, X, None, "bytes=50%", blocks=[Quantize(bits=(0, 4))])
    with pytest.raises(UsageError, match="0 first where layers of residual blocks may vanish"):
        Quantize(bits=(0,))
