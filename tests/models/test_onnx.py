"""ONNX files as torch modules: the same outputs, the same groups, at any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.architectures import ARCHITECTURES
from torch import Tensor, nn

import latprof
from latprof.compress import export
from latprof.compress.graph import flat_outputs
from latprof.errors import ModelLoadError
from latprof.models import load_model
from latprof.models.onnx._functions import reshape_plan, reshaped

pytest.importorskip("onnxruntime", reason="pip install 'latprof[onnx]'")

IMAGE = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def exported(model: nn.Module, inputs: Any, folder: Path) -> Path:
    return export(model.eval(), inputs, folder / "model.onnx")


@pytest.mark.parametrize(
    "name", ["MobileNetV3-Small", "ShuffleNetV2", "ViT", "MiniLM-L6", "LLaMA (grouped queries)"]
)
def test_a_file_shrinks_as_its_model_does(name: str, tmp_path: Path) -> None:
    model, inputs = ARCHITECTURES[name].build()
    module, examples, _ = load_model(str(exported(model, inputs, tmp_path)))
    graph, whole = latprof.trace(module, examples), latprof.trace(model, inputs)
    assert len(graph.prunable) >= len(whole.prunable) - 2
    group = max(graph.prunable, key=lambda g: g.size)
    keep = torch.ones(group.size)
    keep[: group.size // 2] = 0
    small = latprof.shrink(module, graph, {group.name: keep})  # proves the same function
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in module.parameters())


def test_each_text_has_its_own_mask(tmp_path: Path) -> None:
    bert = pytest.importorskip("support.transformers")
    model = bert.build()
    module, examples, _ = load_model(str(exported(model, bert.example(), tmp_path)))
    assert not latprof.trace(module, examples).unmeasured.get("gather_nd")
    ids = torch.randint(1, 60, (3, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 9:], mask[2, 4:] = 0, 0
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits
        assert torch.allclose(module(ids, mask), logits, atol=1e-5)
        assert not torch.allclose(module(ids, torch.ones_like(ids)), logits, atol=1e-5)


class Many(nn.Module):
    """Ops that the zoo's networks do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.norms = nn.ModuleList([nn.InstanceNorm2d(8, affine=True), nn.GroupNorm(2, 8)])
        self.act = nn.PReLU(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.pad(x, (0, 1, 1, 0))
        x = self.act(self.norms[0](self.down(x)))
        x = nn.functional.elu(self.up(x)) + nn.functional.interpolate(x, scale_factor=2.0)
        x = nn.functional.leaky_relu(self.norms[1](x), 0.2)
        x = nn.functional.pixel_shuffle(x.repeat(1, 4, 1, 1), 2)
        x = nn.functional.avg_pool2d(x, 3, 2, 1) * nn.functional.max_pool2d(x, 3, 2, 1).sigmoid()
        x = torch.where(x > 0, x.abs().sqrt(), x.exp().clamp(max=2.0))
        a, b = x.split((3, 5), 1)
        x = torch.cat([b, a], 1)
        return self.head(nn.functional.gelu(x.amax((2, 3))) - x.mean((2, 3)).erf())


def test_many_ops_at_another_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Many().eval()
    module, examples, name = load_model(str(exported(model, (IMAGE,), tmp_path)))
    assert name == "model"
    more = torch.cat([examples[0], IMAGE, 2 * IMAGE])
    with torch.no_grad():
        torch.testing.assert_close(module(more), model(more), rtol=1e-4, atol=1e-5)


def test_weights_are_learned(tmp_path: Path) -> None:
    module, examples, _ = load_model(str(exported(Many(), (IMAGE,), tmp_path)))
    flat_outputs(module.train()(*examples))[0].square().sum().backward()
    left = [n for n, p in module.named_parameters() if p.grad is None]
    assert not left


@pytest.mark.parametrize(
    ("before", "after", "given", "got"),
    [
        ((1, 197, 768), (1, 197, 12, 64), (3, 197, 640), (3, 197, 10, 64)),
        ((1, 197, 12, 64), (1, 197, 768), (3, 197, 10, 64), (3, 197, 640)),
        ((1, 58, 8, 8), (1, 2, 29, 8, 8), (3, 40, 8, 8), (3, 2, 20, 8, 8)),
        ((1, 32, 4, 4), (1, 512), (3, 20, 4, 4), (3, 320)),
        ((1, 197, 768), (197, 768), (3, 197, 700), (591, 700)),
        ((197, 768), (1, 197, 768), (591, 700), (3, 197, 700)),
        ((1, 96), (1, 96, 1, 1), (3, 80), (3, 80, 1, 1)),
        ((1, 12, 7, 64), (12, 7, 64), (3, 12, 7, 64), (36, 7, 64)),
        ((12, 7, 64), (1, 12, 7, 64), (36, 7, 64), (3, 12, 7, 64)),
    ],
)
def test_a_reshape_fits_another_batch_and_fewer_channels(
    before: tuple[int, ...],
    after: tuple[int, ...],
    given: tuple[int, ...],
    got: tuple[int, ...],
) -> None:
    plan = reshape_plan(before, after)
    assert reshaped(torch.zeros(before), *plan).shape == after
    assert reshaped(torch.zeros(given), *plan).shape == got


def test_what_is_not_turned_into_torch_is_named(tmp_path: Path) -> None:
    model = nn.LSTM(4, 4)
    path = exported(model, (torch.zeros(3, 1, 4),), tmp_path)
    with pytest.raises(ModelLoadError, match=r"model\.onnx: LSTM \S+: this op is not turned into"):
        load_model(str(path))
    with pytest.raises(ModelLoadError, match="no such file"):
        load_model(str(tmp_path / "other.onnx"))
    (tmp_path / "bad.onnx").write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelLoadError, match=r"bad\.onnx: "):
        load_model(str(tmp_path / "bad.onnx"))
