"""What the trace says of channels: which go together, which stay, and why, in words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latprof import Conv2d, Elementwise, MatMul, zoo
from latprof.compress import Graph, Group, shrink, trace
from latprof.errors import TraceError, UsageError

IMAGE = (torch.zeros(1, 3, 8, 8),)


def group(graph: Graph, name: str) -> Group:
    return next(g for g in graph.groups if g.name == name)


class Residual(nn.Module):
    """Two convolutions added, concatenated with a third, into a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1)
        self.c, self.head = nn.Conv2d(3, 4, 1), nn.Linear(12 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.a(x) + self.b(x), self.c(x)], 1).flatten(1))


def test_added_channels_share_a_group_and_concatenated_ones_do_not() -> None:
    graph = trace(Residual(), IMAGE)
    added, beside, last = graph.groups
    assert (added.name, added.size, added.unit) == ("a", 8, 1)
    assert [str(p) for p in added.writers] == [
        "a.weight[0]",
        "a.bias[0]",
        "b.weight[0]",
        "b.bias[0]",
    ]
    (reader,) = added.readers
    assert str(reader) == "head.weight[1]"
    index = reader.index.tolist()
    assert index[: 8 * 64] == [i // 64 for i in range(8 * 64)]
    assert set(index[8 * 64 :]) == {-1}
    assert (beside.name, beside.size) == ("c", 4)
    assert (last.prunable, last.reason) == (False, "output of the model")


def test_the_channel_map_is_affine_and_agrees_with_workloads() -> None:
    graph = trace(Residual(), IMAGE)
    mixing, offset = graph.channel_map()
    rng = np.random.default_rng(0)
    for _ in range(5):
        counts = graph.random_counts(rng)
        workloads = graph.workloads(counts)
        assert mixing.shape == (len(workloads), 2, len(graph.groups))
        channels = mixing @ np.array(counts) + offset
        assert channels.tolist() == [list(w.channels) for w in workloads]


def test_workloads_of_a_convolution_fold_batch_norm() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6())
    assert trace(model, IMAGE).workloads() == [
        Conv2d(h=8, w=8, c_in=3, c_out=8, kernel=3, stride=2),
        Elementwise("relu6", h=4, w=4, c=8),
    ]


@pytest.mark.parametrize("module", [nn.Softmax, nn.LogSoftmax])
@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [
        ((12, 49, 64), -1, Elementwise("softmax", h=49, w=64, c=12)),
        ((12, 49, 64), 1, Elementwise("softmax", h=64, w=49, c=12)),
        ((2, 8, 49, 64), 3, Elementwise("softmax", h=49, w=64, c=8, batch=2)),
        ((5, 10), 1, Elementwise("softmax", h=1, w=10, c=1, batch=5)),
    ],
)
def test_a_softmax_is_counted_by_its_axis(
    module: type[nn.Module], shape: tuple[int, ...], axis: int, expected: Elementwise
) -> None:
    assert trace(module(axis), torch.zeros(shape)).workloads() == [expected]


def test_softmax_of_heads_shrinks_with_them() -> None:
    model, inputs = zoo.vit(size=16, dim=48, depth=1, heads=3)
    graph = trace(model, inputs)
    heads = group(graph, "blocks.0.attention.qkv")
    counts = [2 if g is heads else g.size for g in graph.groups]
    (softmax,) = [w for w in graph.workloads(counts) if "softmax" in w.label]
    assert isinstance(softmax, Elementwise)
    assert (softmax.c, softmax.h) == (2, softmax.w)


def test_heads_go_as_heads_and_attention_costs_by_head() -> None:
    model, inputs = zoo.vit(size=16, dim=48, depth=1, heads=3)
    graph = trace(model, inputs)
    heads = group(graph, "blocks.0.attention.qkv")
    assert (heads.size, heads.unit, heads.prunable) == (3, 16, True)
    products = [
        w for w in graph.workloads([2 if g is heads else g.size for g in graph.groups])
        if isinstance(w, MatMul) and not w.weights
    ]  # fmt: skip
    assert [w.batch for w in products] == [2, 2]
    small = shrink(model, graph, {heads.name: torch.tensor([1.0, 0.0, 1.0])})
    assert small.blocks[0].attention.heads == 2
    assert small.blocks[0].attention.qkv.out_features == 2 * 16 * 3


def test_reasons_are_words() -> None:
    model, inputs = zoo.vit(size=16, dim=48, depth=1)
    assert (
        "layer_norm (blocks.0.norm1) normalizes over all of them"
        in group(trace(model, inputs), "patch").reason
    )
    model, inputs = zoo.lstm()
    assert group(trace(model, inputs), "embed").reason == (
        "lstm (lstm) is an op that channels cannot be followed through"
    )
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    heads = group(trace(layer, torch.zeros(1, 4, 16)), "self_attn")
    assert heads.reason.startswith("the code around it keeps its size: ")


def test_exclusion_by_name_and_by_pattern() -> None:
    for pattern in ("a", "a.weight", "[ab]", "*"):
        graph = trace(Residual(), IMAGE, exclude=(pattern,))
        assert group(graph, "a").reason == f"excluded by {pattern!r}"
    assert group(trace(Residual(), IMAGE, exclude=("a",)), "c").prunable
    with pytest.raises(UsageError, match="'layer1' matches no module or parameter of Residual"):
        trace(Residual(), IMAGE, exclude=("layer1",))


def test_tracing_leaves_the_model_alone() -> None:
    model, inputs = zoo.mobilenet_v3_small()
    model.train()
    model.blocks[0].eval()
    modes = [m.training for m in model.modules()]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trace(model, inputs)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_tied_weights_are_one_parameter() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mix = nn.Embedding(20, 8), nn.Linear(8, 8)
            self.head = nn.Linear(8, 20, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: Tensor) -> Tensor:
            x = self.embed(ids)
            return self.head(x + torch.relu(self.mix(x)))

    model = Tied()
    graph = trace(model, torch.arange(6).view(1, 6))
    stream = group(graph, "embed")
    assert (stream.prunable, stream.size) == (True, 8)
    small = shrink(model, graph, {"embed": torch.tensor([1.0, 0, 2, 0, 1, 1, 0, 1])})
    assert small.head.weight is small.embed.weight
    assert small.embed.weight.shape == (20, 5)


def test_what_is_written_by_position_stays() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            y[:, :2] = 0.5
            return self.c(self.b(y).relu_())

    model = Writes()
    graph = trace(model, IMAGE)
    kept, rest = group(graph, "a#2"), group(graph, "a")
    assert (kept.size, kept.reason[:4]) == (2, "fill")
    assert (rest.size, rest.prunable) == (6, True)
    shrink(model, graph, {"a": torch.tensor([1.0, 0, 0, 1, 0, 1])})


def test_positions_that_channels_decide_keep_them() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.embed = nn.Linear(4, 8), nn.Embedding(9, 6)
            self.b = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.embed((self.a(x) > 0).long()).mean(1))

    graph = trace(Looks(), torch.randn(1, 4))
    assert group(graph, "a").reason == "embedding (embed) looks up by it"
    assert group(graph, "embed").prunable


def test_several_inputs_and_nested_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(4, 8), nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor, *, y: Tensor) -> dict[str, object]:
            z = self.a(x) * self.b(y)
            return {"out": self.head(z), "more": (z.sum(1), [self.head(z) + 1])}

    graph = trace(Two(), {"x": torch.zeros(1, 4), "y": torch.zeros(1, 6)})
    assert "sum" in group(graph, "a").reason


def test_stats_are_those_of_the_published_network() -> None:
    model, inputs = zoo.resnet50(size=224, stem="imagenet", num_classes=1000)
    stats = trace(model, inputs, probe=False).stats()
    assert stats.params == 25_557_032  # torchvision's resnet50
    assert abs(stats.macs - 4.089e9) < 0.01e9


def test_unmeasured_ops_are_named() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.erfinv(x.abs())

    assert set(trace(Odd(), torch.zeros(1, 4)).unmeasured) == {"abs", "erfinv"}


class _Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = _Inner()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class _Inner(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return -x


class _Breaks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[:, :3])


@pytest.mark.parametrize(
    ("model", "inputs", "said"),
    [
        (
            _Branches(),
            torch.zeros(1, 4),
            r"depends on values in tensors in inner at .*x.sum\(\) > 0",
        ),
        (_Breaks(), torch.zeros(1, 4), r"fails on the example inputs \(1x4\) in _Breaks at"),
        (_Breaks(), (), "missing 1 required positional argument"),
        (_Breaks(), None, "example inputs are NoneType"),
        (nn.Identity(), (3,), "returns no tensor"),
    ],
)
def test_errors_are_one_line(
    model: nn.Module, inputs: object, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TraceError, match=said) as caught:
        trace(model, inputs)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
