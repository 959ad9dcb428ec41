"""Any architecture in, a smaller one out, the same function: every row of docs/architectures.md."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers_architectures import ARCHITECTURES, counts_of, random_masks, randomise, row_of
from torch.func import functional_call

from latprof.compress import export, shrink, trace
from latprof.compress._inputs import flat_outputs
from latprof.compress._shrink import random_inputs

pytest.importorskip("transformers", reason="pip install 'latprof[models]'")

# transformers and the exporter warn of their own internals
pytestmark = pytest.mark.filterwarnings("ignore")

PAGE = Path(__file__).parent.parent / "docs" / "architectures.md"
NAMES = [
    name if a.quick else pytest.param(name, marks=pytest.mark.slow)
    for name, a in ARCHITECTURES.items()
]
#: One of each way to an ONNX file; the others are slow.
EXPORTED = (
    "MobileNetV3-Small",
    "ResNet-18",
    "ViT (fused qkv)",
    "LLaMA (grouped queries)",
)


@pytest.mark.parametrize("name", NAMES)
def test_masked_is_shrunk(name: str) -> None:
    """The law, and that what the graph predicts of the small model is what it then has."""
    model, inputs = ARCHITECTURES[name].build()
    randomise(model)
    graph = trace(model, inputs)
    assert graph.prunable
    assert all(g.reason for g in graph.groups if not g.prunable)
    generator = torch.Generator().manual_seed(1)
    for kind in ("random", "one", "all", "divisor"):
        masks = random_masks(graph, generator, kind)
        small = shrink(model, graph, masks)  # raises where they differ by more than 1e-5
        stats = graph.stats(counts_of(masks))
        assert stats.params == sum(p.numel() for p in small.parameters())
        assert {type(m) for m in small.modules()} <= {type(m) for m in model.modules()}
    again = trace(small, inputs, probe=False)
    assert again.workloads() == graph.workloads(counts_of(masks))
    if PAGE.exists():
        assert row_of(name, graph) in PAGE.read_text().splitlines(), "run scripts/architectures"


@pytest.mark.parametrize(
    "name",
    [n if n in EXPORTED else pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES],
)
def test_masked_is_exported(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, inputs = ARCHITECTURES[name].build()
    randomise(model)
    graph = trace(model, inputs)
    masks = random_masks(graph, torch.Generator().manual_seed(2))
    path = export(shrink(model, graph, masks), inputs, tmp_path / "small.onnx")
    drawn = random_inputs(graph.inputs, seed=3)
    with torch.no_grad():
        masked = graph.masked(dict(model.named_parameters()), masks)
        wanted = flat_outputs(functional_call(model, masked, drawn.args, drawn.kwargs))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    fed = dict(zip(names, (t.numpy() for t in drawn.leaves), strict=True))
    for want, got in zip(wanted, session.run(None, fed), strict=True):
        scale = float(want.abs().max())
        assert float((torch.from_numpy(got) - want).abs().max()) <= 1e-5 * scale


@pytest.mark.parametrize("name", ["MobileNetV3-Small", "ViT (fused qkv)"])
def test_the_same_top_1_on_1000_inputs(name: str) -> None:
    model, inputs = ARCHITECTURES[name].build()
    randomise(model)
    graph = trace(model, inputs)
    masks = random_masks(graph, torch.Generator().manual_seed(4))
    small = shrink(model, graph, masks)
    images = torch.randn(1000, *inputs[0].shape[1:], generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        masked = graph.masked(dict(model.named_parameters()), masks)
        wanted = functional_call(model, masked, (images,))
        got = small(images)
    assert torch.equal(wanted.argmax(1), got.argmax(1))
    assert float((wanted - got).abs().max()) <= 1e-5 * float(wanted.abs().max())
