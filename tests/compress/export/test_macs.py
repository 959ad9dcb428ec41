"""A module and its own exported file multiply as often."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latprof.compress import export, trace, workloads_of_file

pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")

# the exporter runs code that warns of torch's own plans
pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)


class Of(nn.Module):
    """Some layers and what is computed with them."""

    def __init__(self, compute: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.compute = nn.ModuleDict(layers), compute

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x, **self.layers)


def cross_attention(x: Tensor, attention: nn.Module, out: nn.Module) -> Tensor:
    return out(attention(x, x[:, :3] * 2, x[:, :3])[0])


def scaled(x: Tensor, conv: nn.Conv2d) -> Tensor:
    weight = conv.weight / conv.weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return F.conv2d(x, weight, conv.bias)


def positions(x: Tensor, key: nn.Module) -> Tensor:
    return torch.einsum("bid,bjd->bij", x, key(x)).softmax(-1) @ x


MODELS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "cross attention": (
        Of(
            cross_attention,
            attention=nn.MultiheadAttention(16, 4, batch_first=True),
            out=nn.Linear(16, 4),
        ),
        (2, 5, 16),
    ),
    "a weight computed in the forward": (Of(scaled, conv=nn.Conv2d(3, 8, 3)), (1, 3, 8, 8)),
    "einsum": (Of(positions, key=nn.Linear(16, 16)), (2, 5, 16)),
    "a convolution over time": (nn.Conv1d(4, 6, 3, groups=2), (1, 4, 16)),
    "a convolution over space and time": (nn.Conv3d(2, 4, 3), (1, 2, 6, 6, 6)),
    "a grouped convolution": (nn.Conv2d(8, 8, (1, 3), groups=4), (1, 8, 8, 8)),
    "a transposed convolution": (nn.ConvTranspose2d(8, 4, 2, 2), (1, 8, 4, 4)),
    "a grouped transposed convolution": (nn.ConvTranspose2d(8, 4, 2, 2, groups=4), (1, 8, 4, 4)),
    "a GRU": (Of(lambda x, gru: gru(x)[0], gru=nn.GRU(8, 12, 2)), (5, 2, 8)),
    "a vector": (Of(lambda x, a: a(x) @ a.weight[0], a=nn.Linear(8, 8)), (5, 8)),
    "an encoder": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 1),
        (2, 5, 16),
    ),
}


HALF = ("a grouped convolution", "an encoder")
CASES = [*((name, torch.float32) for name in MODELS), *((name, torch.float16) for name in HALF)]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_module_and_its_file_multiply_as_often(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, shape = MODELS[name]
    model, x = model.to(dtype).eval(), torch.randn(*shape, dtype=dtype)
    found = workloads_of_file(export(model, x, tmp_path / "net.onnx"))
    model.float()
    assert sum(w.macs for w in found) == trace(model, x.float()).stats().macs
    assert {f"torch.{w.dtype}" for w in found if w.macs} == {str(dtype)}
