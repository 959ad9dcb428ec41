"""What layers are said to be, and blocks that functions choose layers for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.training import EXAMPLE, Plain, fake_surrogate
from torch import Tensor, nn

import latprof
from latprof import Compressor, Depth, LayerInfo, LowRank, Prune, Sparse, layers
from latprof.compress.space import Layers, SchemeTarget, named_blocks
from latprof.errors import UsageError
from latprof.surrogate import Surrogate

X = torch.zeros(1, 3, 8, 8)


class Net(nn.Module):
    """A stem, a block whose shortcut is a convolution, one whose shortcut is nothing, a head."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.body = nn.ModuleList([Body(16, 32, 2), Body(32, 32, 1)])
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.body:
            x = block(x)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Body(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 2 * out, 1)
        self.depthwise = nn.Conv2d(2 * out, 2 * out, 3, stride, 1, groups=2 * out)
        self.project = nn.Conv2d(2 * out, out, 1)
        self.match = nn.Conv2d(channels, out, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.project(torch.relu(self.depthwise(torch.relu(self.expand(x)))))
        added: Tensor = made + self.match(x)
        return added


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    return fake_surrogate(Net(), X)


@pytest.fixture(scope="module")
def found(surrogate: Surrogate) -> Any:
    return layers(Net(), X, surrogate)


def by_path(found: Any) -> dict[str, LayerInfo]:
    return {layer.path: layer for layer in found}


def test_layers_are_in_order_with_their_shapes(found: Any) -> None:
    assert [layer.path for layer in found][:2] == ["stem", "body.0.expand"]
    assert len(found) == 9
    depthwise = by_path(found)["body.0.depthwise"]
    assert (depthwise.kind, depthwise.kernel, depthwise.stride) == ("depthwise", 3, 2)
    head = by_path(found)["head"]
    assert (head.kind, head.channels_in, head.channels_out, head.macs) == ("linear", 32, 4, 128)


def test_the_one_layer_beside_a_longer_way_is_on_a_shortcut(found: Any) -> None:
    assert [layer.path for layer in found if layer.shortcut] == ["body.0.match"]
    blocks = {layer.path: layer.residual_block for layer in found if layer.residual_block}
    assert set(blocks.values()) == {"body.1"}
    assert len(blocks) == 3


def test_groups_lead_from_layer_to_layer(found: Any) -> None:
    of = by_path(found)
    assert of["stem"].writes == of["body.0.expand"].reads == of["body.0.match"].reads
    assert of["body.0.expand"].writes == of["body.0.depthwise"].reads
    assert of["body.0.depthwise"].reads == of["body.0.depthwise"].writes
    assert of["body.0.project"].writes == of["body.0.match"].writes == of["head"].reads


def test_latencies_are_those_of_the_ops_and_shares_those_of_all(
    found: Any, surrogate: Surrogate
) -> None:
    whole_s = float(surrogate.predict(latprof.trace(Net(), X).workloads()).latency_s.sum())
    for layer in found:
        (alone_s,) = surrogate.predict([layer.workload]).latency_s
        assert layer.latency_s == pytest.approx(alone_s)
        assert layer.share == pytest.approx(alone_s / whole_s)
    assert 0.5 < sum(layer.share for layer in found) < 1


def test_without_a_surrogate_no_comparison_of_a_latency_holds() -> None:
    plain = layers(Plain(), EXAMPLE)
    assert not any(layer.share > 0 or layer.share < 1 for layer in plain)
    assert plain[0].to_dict()["latency_s"] is None


def test_they_print_as_a_table(found: Any) -> None:
    lines = str(found).splitlines()
    assert len(lines) == 1 + len(found)
    assert lines[0].startswith("layer")
    assert "conv 1x1 /2" in next(line for line in lines if " shortcut " in line)
    assert "depthwise 3x3 /2" in str(found)


def named(*blocks: Any) -> Any:
    return named_blocks(blocks, lambda: layers(Net(), X), SchemeTarget())


def test_a_predicate_becomes_names() -> None:
    (block,) = named(LowRank(layers=lambda layer: layer.kind == "conv" and layer.kernel == 1))
    assert block.layers == (
        *("body.0.expand", "body.0.project", "body.0.match"),
        *("body.1.expand", "body.1.project"),
    )
    assert named(Prune(exclude=lambda layer: layer.kernel == 9)) == (Prune(),)
    assert named(Prune(exclude="stem"), Sparse(layers=["head"])) == (
        Prune(exclude=("stem",)),
        Sparse(layers=("head",)),
    )


def test_depth_takes_blocks_all_of_whose_layers_are_accepted() -> None:
    (block,) = named(Depth(layers=lambda layer: layer.path.startswith("body")))
    assert block.layers == ("body.1",)
    with pytest.raises(UsageError, match="accepts no residual block"):
        named(Depth(layers=lambda layer: layer.kernel == 3))


def test_a_scheme_sees_layers_and_target(surrogate: Surrogate) -> None:
    seen: list[Any] = []

    def scheme(found: Any, target: SchemeTarget) -> Any:
        seen.append((len(found), target.target, target.pays("int8", found[0].workload).verdict))
        heavy = [layer.path for layer in found if layer.share > 0.1]
        return [Prune(exclude=tuple(heavy))]

    comp = Compressor(Net(), X, surrogate, "95%", blocks=scheme)
    assert seen == [(9, surrogate.target, "unknown")]
    heavy = [layer for layer in layers(Net(), X, surrogate) if layer.share > 0.1]
    kept = {name for layer in heavy for name in (*layer.reads, *layer.writes)}
    assert kept
    assert not kept & {width["group"] for width in comp.widths()}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: named(LowRank(layers=lambda la: la.share > 2)), "accepts no layer"),
        (lambda: named(LowRank(layers=lambda la: la.width > 2)), "fails at stem: AttributeError"),
        (lambda: named_blocks(lambda la, t: 3, Layers, SchemeTarget()), "returns 3; expected"),
        (lambda: named_blocks(lambda la: [], Layers, SchemeTarget()), "scheme <lambda> fails"),
        (lambda: Sparse(layers=(lambda la: True,)), "expected names or patterns of modules, or"),
    ],
)
def test_what_is_no_choice_is_refused_in_one_line(make: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)
