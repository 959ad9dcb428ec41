"""Any architecture in, a smaller one out, the same function: docs/results/architectures.md."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.architectures import ARCHITECTURES, batch_of, counts_of, random_masks, row_of
from torch import Tensor, nn
from torch.func import functional_call

from latprof import MatMul
from latprof.compress import Graph, export, shrink, trace
from latprof.compress.graph import Inputs, flat_outputs
from latprof.compress.shrink import TOLERANCE, relative_error
from latprof.workloads import Workload

pytest.importorskip("transformers", reason="pip install 'latprof[models]'")

# transformers and the exporter warn of their own internals
pytestmark = pytest.mark.filterwarnings("ignore")

Forward = Callable[[Inputs], list[Tensor]]
BATCH = 50
PAGE = Path(__file__).parents[3] / "docs" / "results" / "architectures.md"
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


def masked_forward(model: nn.Module, graph: Graph, masks: list[Tensor]) -> Forward:
    masked = graph.masked(dict(model.named_parameters()), masks)
    return lambda x: flat_outputs(functional_call(model, masked, x.args, x.kwargs))


def plain(workloads: list[Workload]) -> list[Workload]:
    """Without what tells whether a factor is a weight: once one head is left, the channels of its
    values can go one by one, and are counted as those of a weight are."""
    return [dataclasses.replace(w, weights=True) if isinstance(w, MatMul) else w for w in workloads]


def assert_the_same_top_1(graph: Graph, wanted: Forward, got: Forward) -> None:
    """On 1,000 inputs: outputs within 1e-5, relative, and the same top-1 of the first output.

    Its classes lie along dim 1 of (N, classes) and (N, classes, H, W), and last in
    (N, tokens, classes); of an output that is no logits the features are taken for classes. Each
    position decides. Logits are taken less their mean over the batch, as a trained head's bias
    makes them: with random weights one class would win everywhere. Only near ties, within 32
    float32 roundings of the largest logit, may fall otherwise, and 0.2% of the decisions at most.
    """
    generator = torch.Generator().manual_seed(5)
    winners: Counter[int] = Counter()
    flipped = 0
    for _ in range(1000 // BATCH):
        drawn = batch_of(graph.inputs, BATCH, generator)
        with torch.no_grad():
            outputs = wanted(drawn), got(drawn)
        assert relative_error(*outputs) <= TOLERANCE
        logits, others = outputs[0][0], outputs[1][0]
        classes = 1 if logits.ndim in (2, 4) else -1
        centre, scale = logits.mean(0), float(logits.abs().max())
        best, second = (logits - centre).topk(2, classes).values.unbind(classes)
        top_1 = (logits - centre).argmax(classes)
        fell = top_1 != (others - centre).argmax(classes)
        assert (best - second)[fell].le(32 * torch.finfo(torch.float32).eps * scale).all()
        winners.update(top_1.flatten().tolist())
        flipped += int(fell.sum())
    assert winners.most_common(1)[0][1] < 0.9 * winners.total(), "the outputs tell nothing apart"
    assert flipped <= 0.002 * winners.total()


@pytest.mark.parametrize("name", NAMES)
def test_masked_is_shrunk(name: str) -> None:
    """The law, the same top-1, and that the graph predicts what the small model then has."""
    model, inputs = ARCHITECTURES[name].build()
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
    assert plain(again.workloads()) == plain(graph.workloads(counts_of(masks)))
    masks = random_masks(graph, generator, "half")
    small = shrink(model, graph, masks)
    assert_the_same_top_1(
        graph,
        masked_forward(model, graph, masks),
        lambda x: flat_outputs(small(*x.args, **x.kwargs)),
    )
    if PAGE.exists():
        assert row_of(name, ARCHITECTURES[name].source, graph) in PAGE.read_text().splitlines(), (
            "run scripts/architectures"
        )


@pytest.mark.parametrize(
    "name",
    [n if n in EXPORTED else pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES],
)
def test_masked_is_exported(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, inputs = ARCHITECTURES[name].build()
    graph = trace(model, inputs)
    masks = random_masks(graph, torch.Generator().manual_seed(2), "half")
    batch = batch_of(graph.inputs, BATCH, torch.Generator().manual_seed(3))
    path = export(shrink(model, graph, masks), batch, tmp_path / "small.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]

    def exported(x: Inputs) -> list[Tensor]:
        fed = dict(zip(names, (t.numpy() for t in x.leaves), strict=True))
        return [torch.from_numpy(a) for a in session.run(None, fed)]

    assert_the_same_top_1(graph, masked_forward(model, graph, masks), exported)
