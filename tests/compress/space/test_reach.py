"""Which block reaches which kind of layer; what it reaches is the same masked, shrunk, exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.layer_kinds import KINDS, make_net
from torch import Tensor, nn

from latprof import Compressor, LowRank, Prune, Quantize, Sparse
from latprof.compress import export, shrink, trace
from latprof.compress.export import load_check, onnx_session
from latprof.compress.methods import shrunk
from latprof.compress.space import Block, unreached
from latprof.errors import UsageError

LAYER = ("layer*",)
BLOCKS: dict[str, tuple[Block, str]] = {
    "LowRank": (LowRank(layers=LAYER), "params"),
    "Sparse": (Sparse(layers=LAYER), "params"),
    "Sparse 2:4": (Sparse(pattern="2:4", layers=LAYER), "params"),
    "Sparse 2x4": (Sparse(pattern="2x4", layers=LAYER), "params"),
    "Quantize": (Quantize(bits=(4,), layers=LAYER), "bytes"),
}
DEPTHWISE = "depthwise convolution has one input channel per group"
GROUPED = "grouped convolution: each of its {} groups needs a rank of its own"
TABLE = "patterns are for products of matrices; unstructured reaches it"
WHOLE = "torch's {} multiplies by whole matrices"
ITSELF = "torch's {} multiplies by its weight itself, and not through a layer"
#: {kind: {block: why it leaves the layer as it is}}; what is not here, a block reaches.
REASONS: dict[str, dict[str, str]] = {
    "grouped": {"LowRank": GROUPED.format(2)},
    "grouped 1x1": {"LowRank": GROUPED.format(4)},
    "transposed grouped": {"LowRank": GROUPED.format(2)},
    "depthwise": {
        "LowRank": DEPTHWISE,
        "Sparse 2:4": DEPTHWISE,
        "Sparse 2x4": "1 output channels per group are no multiple of 2",
    },
    "depthwise x2": {
        "LowRank": DEPTHWISE,
        "Sparse 2:4": DEPTHWISE,
        "Sparse 2x4": "1 input channels per group are no multiple of 4",
    },
    "depthwise 1d": {
        "LowRank": DEPTHWISE,
        "Sparse 2:4": DEPTHWISE,
        "Sparse 2x4": "1 output channels per group are no multiple of 2",
    },
    "embedding": {"Sparse 2:4": TABLE, "Sparse 2x4": TABLE},
    "embedding tied": {
        "LowRank": "another layer shares its weight",
        "Sparse 2:4": TABLE,
        "Sparse 2x4": TABLE,
    },
    "embedding bag": {
        "LowRank": "a bag of embeddings is looked up and summed in one op",
        "Sparse 2:4": TABLE,
        "Sparse 2x4": TABLE,
    },
    "lstm": {"LowRank": WHOLE.format("LSTM")},
    "lstm deep": {"LowRank": WHOLE.format("LSTM")},
    "gru": {"LowRank": WHOLE.format("GRU")},
    "rnn": {"LowRank": WHOLE.format("RNN")},
    "attention": {"LowRank": ITSELF.format("MultiheadAttention")},
    "bilinear": {
        "LowRank": ITSELF.format("Bilinear"),
        "Sparse 2:4": TABLE,
        "Sparse 2x4": TABLE,
    },
}
#: {kind: why Prune removes none of its channels}
UNFOLLOWED = "{} (layer) is an op that channels cannot be followed through"
STAY = {
    "embedding bag": UNFOLLOWED.format("embedding_bag"),
    "lstm": UNFOLLOWED.format("lstm"),
    "lstm deep": UNFOLLOWED.format("lstm"),
    "gru": UNFOLLOWED.format("gru"),
    "rnn": UNFOLLOWED.format("rnn_tanh"),
    "bilinear": UNFOLLOWED.format("bilinear"),
}


#: The others take as long together, and differ from these in few lines.
QUICK = (
    "linear", "conv1d", "conv2d strided", "grouped", "depthwise", "transposed", "embedding",
    "embedding tied", "lstm", "attention",
)  # fmt: skip
EACH = [pytest.param(k, marks=() if k in QUICK else pytest.mark.slow) for k in KINDS]


def chosen(kind: str, block: Block, budget: str) -> tuple[Compressor, nn.Module, Tensor]:
    """With the block and Prune, half of all channels and as much of the layer as can go."""
    net, x = make_net(kind)
    comp = Compressor(net, x, None, f"{budget}=99.9%", blocks=[Prune(divisor=4), block]).eval()
    masks = comp.masks
    with torch.no_grad():
        for g, alpha in zip(comp.space.groups, masks.split(masks.alpha), strict=True):
            of_block = g.index >= len(comp.graph.groups)
            if not g.prunable or (of_block and isinstance(block, Sparse) and block.n_of_m):
                continue
            left = max(g.minimum, 1 if of_block else g.size // 2)
            if isinstance(block, Sparse) and of_block:
                left = g.size // 3
            gone = torch.arange(left, g.size)
            alpha[gone if of_block else torch.randperm(g.size)[left:]] = 0
        masks.commit()
        if isinstance(block, Sparse) and block.n_of_m:
            comp.fix()
        small = shrunk(comp.model, comp.weights, comp.goals, comp.selection)
    assert is_changed(small, block)
    return comp, small.eval(), x


def relative(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).abs().max() / wanted.abs().max())


def is_changed(small: nn.Module, block: Block) -> bool:
    """Whether the block did something to a weight of the layer."""
    inner = dict(small.named_modules())
    if isinstance(block, LowRank):
        return "layer.reduce" in inner
    weights = [p for n, p in small.named_parameters() if n.startswith("layer") and p.ndim > 1]
    if isinstance(block, Quantize):
        return any(w.unique().numel() <= 2 ** block.bits[-1] for w in weights)
    return any(bool((w == 0).any()) for w in weights)


@pytest.mark.parametrize("kind", EACH)
def test_what_a_block_reaches_and_why_not(kind: str) -> None:
    if kind == "gpt2 conv1d":
        pytest.importorskip("transformers", reason="pip install 'latprof[transformers]'")
    torch.manual_seed(0)
    reasons = REASONS.get(kind, {})
    net, x = make_net(kind)
    graph = trace(net, x)
    for name, (block, budget) in BLOCKS.items():
        found = unreached(net, graph, [block])
        of_layer = {u.reason for u in found if u.layer.startswith("layer")}
        if name in reasons:
            assert reasons[name] in of_layer, name
            with pytest.raises(UsageError, match="reaches no layer under"):
                Compressor(net, x, None, f"{budget}=99%", blocks=[block])
            continue
        assert not of_layer, name
        comp, small, x = chosen(kind, block, budget)
        probe = torch.randn_like(x) if x.is_floating_point() else x.roll(1)
        with torch.no_grad():
            assert relative(small(probe), comp(probe)) <= 1e-5, name


@pytest.mark.parametrize("kind", EACH)
def test_which_channels_go_and_why_not(kind: str) -> None:
    if kind == "gpt2 conv1d":
        pytest.importorskip("transformers", reason="pip install 'latprof[transformers]'")
    torch.manual_seed(0)
    net, x = make_net(kind)
    graph = trace(net, x)
    mine = [
        g for g in graph.groups if any(p.name.startswith("layer") for p in (*g.readers, *g.writers))
    ]
    prunable = [g for g in mine if g.prunable]
    if kind in STAY:
        assert not prunable
        assert STAY[kind] in {g.reason for g in mine}
        return
    assert prunable
    for g in prunable:
        mask = torch.ones(g.size)
        mask[: g.size // 2] = 0
        small = shrink(net, graph, {g.name: mask})  # which compares both
        assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_the_file_computes_what_the_network_does(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")
    for name, (block, budget) in BLOCKS.items():
        if name in REASONS.get(kind, {}):
            continue
        _, small, x = chosen(kind, block, budget)
        path = export(small, x, tmp_path / "net.onnx", pack=True)
        check = load_check(path)
        (got,) = onnx_session(path).run(None, check.inputs)
        with torch.no_grad():
            wanted = small(*map(torch.from_numpy, check.inputs.values())).numpy()
        assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max(), name
