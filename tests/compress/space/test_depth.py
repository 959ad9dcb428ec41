"""Dropping residual blocks: which are found, exact shrinking, costs, budgets, runs."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from support.architectures import ARCHITECTURES, random_masks, randomise
from support.compressor import EXAMPLE, run
from support.run import Arithmetic, data
from torch import Tensor, nn

from latprof import Compressor, LatencyTable, Prune
from latprof.compress import (
    Depth,
    LowRank,
    Quantize,
    TrainSettings,
    export,
    load_shrunk,
    recipe_of,
    shrink,
    trace,
)
from latprof.compress._attach import fold
from latprof.compress.cost._cost import Cost, LatencyCost, MacsCost
from latprof.compress.cost._file_bytes import FileBytesCost
from latprof.compress.cost._weights import WeightsCost
from latprof.compress.graph import Inputs
from latprof.compress.shrink import compare_models, masked_forward
from latprof.compress.shrink._skip import Skip
from latprof.compress.space._residual import residual_blocks
from latprof.compress.space._space import Space, space_of
from latprof.devices import profile
from latprof.errors import InfeasibleBudgetError, UsageError
from latprof.pipeline.run import Deployment, RunFile, Settings, compress_in, conclude, load_small
from latprof.report import write_report
from latprof.surrogate import Surrogate, fit
from latprof.tables import plan


class Basic(nn.Module):
    """relu(x + f(x))."""

    def __init__(self, width: int = 16, wide: int = 32) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(width, wide, 3, padding=1), nn.BatchNorm2d(wide))
        self.second = nn.Sequential(nn.Conv2d(wide, width, 1), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class Tower(nn.Sequential):
    """(B, 1, 12, 12) to (B, 4): a stem, three residual blocks, a head."""

    def __init__(self) -> None:
        stem = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)]
        super().__init__(stem, Basic(), Basic(), Basic(), *head)


BLOCKS = ["1", "2", "3"]


def tower() -> Tower:
    torch.manual_seed(3)
    model = Tower().train()
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(32, 1, 12, 12))
    return model.eval()


@functools.cache
def surrogate() -> Surrogate:
    with Arithmetic(seed=3, stair=8) as device:
        rows = tuple(profile(device, plan(trace(tower(), EXAMPLE).workloads(), n_shapes=80)))
        return fit(LatencyTable(device.target, rows))


def make(budget: Any, *blocks: Any, steps: int = 40) -> Compressor:
    return Compressor(tower(), EXAMPLE, surrogate(), budget, blocks=blocks, steps=steps)


def trained(comp: Compressor) -> Compressor:
    run(comp, comp.steps, torch.optim.AdamW, 1e-2)
    assert comp.fixed
    return comp.eval()


def transformer(norm_first: bool = True) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    layers = [
        nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=norm_first)
        for _ in range(3)
    ]
    model = nn.Sequential(nn.Linear(8, 16), *layers, nn.Linear(16, 4))
    return randomise(model), (torch.zeros(1, 6, 8),)


NETWORKS: dict[str, tuple[Callable[[], tuple[nn.Module, Any]], list[str]]] = {
    "resnet18": (ARCHITECTURES["ResNet-18"].build, ["0", "1", "3", "5", "7"]),
    "mobilenet_v3": (ARCHITECTURES["MobileNetV3-Small"].build, ["2", "4", "5", "7", "9", "10"]),
    "vit": (ARCHITECTURES["ViT (fused qkv)"].build, ["0", "1"]),
    "pre-norm": (transformer, ["1", "2", "3"]),
    "post-norm": (functools.partial(transformer, norm_first=False), ["1", "2", "3"]),
}  # fmt: skip


@functools.cache
def network(name: str) -> tuple[nn.Module, Any, Space]:
    model, example = NETWORKS[name][0]()
    blocks = [Prune(), Depth()]
    space, _ = space_of(model, lambda e: trace(model, example, e), blocks)
    return model, example, space


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_are_found_by_what_they_compute(name: str) -> None:
    _, _, space = network(name)
    assert [r.path.removeprefix("blocks.") for r in space.residuals] == NETWORKS[name][1]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = Basic(), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.block(torch.relu(x))))


class Looked(nn.Sequential):
    """Its forward reads what an identity has not."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        for block in self:
            x = block(x) / block.first[0].kernel_size[0]
        return x


def _tied() -> nn.Module:
    model = nn.Sequential(nn.ReLU(), Basic(), Basic(), nn.Conv2d(16, 4, 1))
    model[2].second[0].weight = model[1].second[0].weight  # type: ignore[index]
    return model


class OnlyNormalized(nn.Module):
    """Without weights nothing of its input is left."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


class NormalizedWithAnother(nn.Module):
    """norm(y + f(x)) goes on with y, not with its first input."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.last = nn.Linear(6, 6), _Added()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x, self.before(x))


class _Added(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.norm(y + self.linear(x))


@pytest.mark.parametrize(
    "build",
    [
        Twice,
        lambda: Looked(Basic(), Basic()),
        _tied,
        lambda: nn.Sequential(nn.Conv2d(16, 16, 1), OnlyNormalized()),
        lambda: nn.Sequential(nn.Conv2d(16, 16, 1), NormalizedWithAnother()),
    ],
)
def test_blocks_that_cannot_go_are_left_alone(build: Callable[[], nn.Module]) -> None:
    example = (torch.zeros(1, 16, 6, 6),)
    model = randomise(build())
    assert residual_blocks(model, trace(model, example)) == []


def test_where_nothing_can_be_dropped_it_is_said() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    with pytest.raises(UsageError, match="Depth finds no residual block under") as caught:
        Compressor(model, (torch.zeros(1, 8),), None, "macs=50%", blocks=[Depth()])
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="leave both out"):
        Depth(count="l1l2")
    with pytest.raises(UsageError, match="under 7"):
        make("macs=50%", Depth(layers=("7",)))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(4))
def test_any_drops_shrink_exactly(name: str, seed: int) -> None:
    """With and without thinned groups; the recipe builds the same network again."""
    model, example, space = network(name)
    dice = torch.Generator().manual_seed(seed)
    paths = [r.path for r in space.residuals]
    dropped = [p for p in paths if torch.rand((), generator=dice) < 0.5] or paths[:1]
    masks = random_masks(space.graph, dice, "half" if seed % 2 else "all")
    small = shrink(model, space.graph, masks, dropped=dropped)
    forward = masked_forward(model, space.graph, masks, {}, dropped)
    assert compare_models(model, small, Inputs.of(example), forward=forward).holds
    assert {type(small.get_submodule(p)) for p in dropped} <= {nn.Identity, Skip}
    assert not any(n.startswith(tuple(f"{p}." for p in dropped)) for n in small.state_dict())
    recipe = json.loads(json.dumps(recipe_of(model, small)))
    assert recipe["dropped"] == dropped
    again = load_shrunk(model, recipe)
    again.load_state_dict(small.state_dict())
    with torch.no_grad():
        x = torch.randn(2, *example[0].shape[1:])
        assert torch.equal(again.eval()(x), small(x))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(2))
def test_costs_are_those_of_the_shrunk_network(name: str, seed: int) -> None:
    model, example, space = network(name)
    rng = np.random.default_rng(seed)
    graph = space.graph
    counts = graph.random_counts(rng)
    keeps = [(torch.arange(g.size) < n).float() for g, n in zip(graph.groups, counts, strict=True)]
    counts += [int(rng.integers(2)) for _ in space.residuals]
    small = shrink(model, graph, keeps, dropped=space.dropped(counts), verify=False)
    stats = trace(small, example, probe=False).stats()
    costs: dict[str, Cost] = {"macs": MacsCost(space), "params": WeightsCost(space)}
    for kind, cost in costs.items():
        assert cost.exact(counts) == pytest.approx(getattr(stats, kind), rel=1e-6)
        with torch.no_grad():
            smooth = float(cost(torch.tensor(counts, dtype=torch.float32)))
        assert smooth == pytest.approx(getattr(stats, kind), rel=1e-5)


@pytest.mark.parametrize("of", ["latency", "macs", "params", "bytes"])
def test_a_block_costs_what_its_ops_do(of: str) -> None:
    """Linear in each block's count: the gradient is the finite difference, whatever its step."""
    space = make("macs=80%", Prune(), LowRank(), Depth()).space
    cost: Cost = {
        "latency": lambda: LatencyCost(space, surrogate()),
        "macs": lambda: MacsCost(space),
        "params": lambda: WeightsCost(space),
        "bytes": lambda: FileBytesCost(space),
    }[of]()
    dice = torch.Generator().manual_seed(0)
    sizes = torch.tensor(space.sizes, dtype=torch.float32)
    counts = sizes * (0.4 + 0.5 * torch.rand(len(sizes), generator=dice))
    leaf = counts.clone().requires_grad_()
    cost(leaf).backward()
    assert leaf.grad is not None
    for residual in space.residuals:
        index = residual.group.index
        ends = []
        for value in (0.0, 1.0):
            moved = counts.clone()
            moved[index] = value
            ends.append(float(cost(moved).detach()))
        assert float(leaf.grad[index]) == pytest.approx(ends[1] - ends[0], rel=1e-3)
    gone = [n for n, g in enumerate(space.groups) if n in space.vanished([0] * len(sizes))]
    assert gone
    moved = counts.clone()
    for residual in space.residuals:
        moved[residual.group.index] = 0.0
    leaf = moved.requires_grad_()
    cost(leaf).backward()
    assert not leaf.grad[gone].any()  # type: ignore[index]  # what is in a dropped block is free


def test_what_pruning_cannot_reach_depth_can() -> None:
    with pytest.raises(InfeasibleBudgetError, match="less than the least"):
        make("14%", Prune())
    comp = trained(make("14%", Prune(), Depth()))
    assert comp.budget_cost is not None
    assert comp.cost() <= comp.budget_cost
    assert comp.space.dropped(comp.counts())


@pytest.mark.parametrize(
    ("budget", "blocks"),
    [
        ("60%", (Depth(),)),
        ("35%", (Prune(), Depth())),
        ("macs=30%", (Prune(init="uniform"), LowRank(), Depth(layers=("1", "2")))),
        ("bytes=10%", (Prune(), Quantize(bits=(2, 8)), Depth())),
    ],
)
def test_it_lands_on_the_budget_and_hardens_exactly(
    budget: str, blocks: tuple[Any, ...], tmp_path: Path
) -> None:
    comp = make(budget, *blocks)
    with torch.no_grad():
        torch.testing.assert_close(comp.eval()(*EXAMPLE), tower()(*EXAMPLE), rtol=1e-5, atol=1e-5)
    trained(comp)
    goal = comp.goals.each[0]
    counts = comp.counts()
    assert goal.cost.exact(counts) <= goal.limit
    scales = comp.scales()
    gates = {r.path: scales[r.group.index].item() for r in comp.space.residuals}
    assert set(gates.values()) <= {0.0, 1.0}
    small = comp.shrink()
    if goal.budget.kind == "macs":
        assert trace(small, EXAMPLE, probe=False).stats().macs == goal.cost.exact(counts)
    dropped = [path for path, gate in gates.items() if not gate]
    assert [p for p in BLOCKS if isinstance(small.get_submodule(p), nn.Identity)] == dropped
    x = torch.randn(64, 1, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(small(x), comp(x), rtol=1e-5, atol=1e-5)
    after = {row["group"]: row["after"] for row in comp.widths()}
    for path in gates:
        assert after[f"{path}/depth"] == (path not in dropped)
        assert (after.get(f"{path}.first.0") == 0) == (path in dropped and Prune() in blocks)
    session = onnxruntime.InferenceSession(export(small, EXAMPLE, tmp_path / "small.onnx"))
    (answer,) = session.run(None, {session.get_inputs()[0].name: x[:1].numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(answer), small(x[:1]), rtol=1e-5, atol=1e-5)
        fold(comp)
        torch.testing.assert_close(comp.model(x), small(x), rtol=1e-5, atol=1e-5)


def test_on_the_way_there_are_whole_networks() -> None:
    comp = make("35%", Prune(), Depth())
    run(comp, 20, torch.optim.AdamW, 1e-2)
    gates = [comp.alpha[-3:].tolist()]
    small, counts = comp.eval().snapshot(0.9)
    assert [isinstance(small.get_submodule(p), nn.Identity) for p in BLOCKS] == [
        not c for c in counts[-3:]
    ]
    assert gates == [comp.alpha[-3:].tolist()]


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    whole, resumed = (make("35%", Prune(), Depth()) for _ in range(2))
    for comp in (whole, resumed):
        run(comp, 20, torch.optim.SGD, 1e-2)
        if comp is resumed:
            torch.save(comp.state_dict(), tmp_path / "half")
            resumed = make("35%", Prune(), Depth())
            resumed.load_state_dict(torch.load(tmp_path / "half", weights_only=True))
            comp = resumed
        run(comp, 20, torch.optim.SGD, 1e-2)
    assert whole.fixed
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


# the compiler warns of torch's own plans
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_is_the_same() -> None:
    comp, compiled = (make("35%", Prune(), Depth(), steps=20) for _ in range(2))
    run(comp, 20, torch.optim.SGD, 1e-2)
    torch.compiler.reset()  # what other tests compiled of the same code counts against a limit
    fast = torch.compile(compiled, backend="aot_eager", fullgraph=True)
    run(compiled, 20, torch.optim.SGD, 1e-2, forward=fast)  # type: ignore[arg-type]
    assert compiled.counts() == comp.counts()
    x = torch.randn(8, 1, 12, 12)
    with torch.no_grad():
        small = compiled.shrink().eval()
        torch.testing.assert_close(small(x), fast.eval()(x), rtol=1e-5, atol=1e-5)


def test_a_section_of_a_run_file(tmp_path: Path) -> None:
    path = tmp_path / "RUN.toml"
    text = 'model = "zoo:resnet18"\ndata = "mine:data"\ntable = "t.parquet"\nout = "run"\n'
    path.write_text(f'{text}[prune]\n[depth]\nlayers = "blocks.*"\n')
    assert RunFile.load(path).settings.blocks == (Prune(), Depth(layers=("blocks.*",)))


def test_a_run_says_which_blocks_it_dropped(tmp_path: Path) -> None:
    batches_, test = data()
    settings = Settings(
        "30%",
        (Prune(), Depth()),
        masks=TrainSettings(3, lr=4e-3),
        fine_tune=TrainSettings(1, lr=2e-3),
        trail=1,
    )
    with Arithmetic(seed=3, stair=8) as device:
        deployment = Deployment(device, tmp_path, EXAMPLE)
        model = tower()
        done = compress_in(deployment, model, surrogate(), settings, batches_)
        networks = {
            "original": (model, done.comp.space.sizes),
            "compressed": (done.small, done.comp.counts()),
        }
        result = conclude(deployment, networks, done, test)
    dropped = done.comp.space.dropped(done.comp.counts())
    assert dropped
    assert [f"{p}/depth" for p in dropped] == [
        w.group for w in result.widths if w.before == 1 and not w.after
    ]
    assert not any(row.module.startswith(tuple(dropped)) for row in result.layers)
    small, counts = load_small(tower(), tmp_path / "compressed")
    assert counts == done.comp.counts()
    assert sum(p.numel() for p in small.parameters()) == result.compressed.params
    assert f"{dropped[0]}/depth" in write_report(tmp_path).read_text()
