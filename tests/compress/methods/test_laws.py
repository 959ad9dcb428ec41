"""The laws of ``Method``, of every method with every block that it does not refuse."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.fixed_runs import Residuals
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from latprof import Compressor
from latprof.compress import (
    LC,
    Block,
    Depth,
    Gradual,
    LowRank,
    Masks,
    Method,
    OneShot,
    Prune,
    Quantize,
    Sparse,
    Threshold,
    check_trainable,
    export,
    load_check,
    paper,
)
from latprof.compress.methods import METHODS
from latprof.errors import UsageError

STEPS, MORE = 14, 3
#: Layers whose weights may go.
THIN = ("*enter", "hidden")
EXAMPLE = (torch.zeros(1, 1, 12, 12),)
INPUT = torch.randn(8, 1, 12, 12, generator=torch.Generator().manual_seed(0))

EVERY: dict[str, Method] = {
    "masks": Masks(),
    "masks by magnitude": Masks(importance="magnitude", early_stop=True),
    "masks without projections": Masks(projections=False, zeros_return=True, grow=True),
    "the knapsack alone": Masks(steered=False, optimizer="none"),
    "paper": paper(2.0),
    "paper, uniform start": paper(2.0, init="uniform"),
    "paper without clipping": replace(paper(2.0), clip=False),
    "the user's optimizer": replace(paper(2.0), optimizer="user"),
    "lc": LC(iterations=5),
    "threshold": Threshold(),
    "gradual by magnitude": Gradual(),
    "gradual by movement": Gradual(score="movement"),
    "gradual by taylor": Gradual(score="taylor"),
    "one shot by magnitude": OneShot(),
    "one shot by taylor": OneShot(score="taylor"),
}
BLOCKS: dict[str, tuple[tuple[Block, ...], list[str]]] = {
    "prune": ((Prune(),), ["macs=50%"]),
    "low rank": ((LowRank(divisor=1),), ["params=60%"]),
    "prune and depth": ((Prune(), Depth()), ["macs=30%"]),
    "sparse": ((Sparse(layers=THIN),), ["params=90%"]),
    "tiles": ((Sparse(pattern="4x4", layers=THIN),), ["params=90%"]),
    "2:4": ((Prune(), Sparse(pattern="2:4", layers=THIN)), ["macs=70%"]),
    "quantize": ((Quantize(bits=(2, 4, 8)),), ["bytes=20%"]),
    "prune, sparse and quantize": (
        (Prune(), Sparse(layers=THIN), Quantize(bits=(4, 8))),
        ["macs=60%", "bytes=20%"],
    ),
}


def refused(method: Method, blocks: tuple[Block, ...]) -> bool:
    return any(method.refusal(block) for block in blocks)


PAIRS = [
    pytest.param(method, block, id=f"{method}-{block}")
    for method, m in EVERY.items()
    for block, (blocks, _) in BLOCKS.items()
    if not refused(m, blocks)
]
#: Of each method its last pair, which is of several blocks where it can, for what takes long.
FEW = list({pair.values[0]: pair for pair in PAIRS}.values())
#: One of each kind of method is compiled in the quick tests; the others differ in switches.
COMPILED = ("masks", "paper", "lc", "threshold", "gradual by taylor")


def build(method: str, block: str) -> Compressor:
    torch.manual_seed(2)
    blocks, budgets = BLOCKS[block]
    return Compressor(
        Residuals().eval(), EXAMPLE, None, budgets, blocks=blocks, method=EVERY[method], steps=STEPS
    )


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(0, 4, (16,), generator=generator)
    return torch.randn(16, 1, 12, 12, generator=generator) + labels.view(-1, 1, 1, 1), labels


def train(
    comp: Compressor,
    optimizer: torch.optim.Optimizer,
    steps: range,
    forward: Any = None,
    precision: torch.dtype | None = None,
    share: slice = slice(None),
) -> None:
    comp.train()
    for number in steps:
        x, y = batch(number)
        with torch.autocast("cpu", precision, enabled=precision is not None):
            logits = (comp if forward is None else forward)(x[share])
            loss = nn.functional.cross_entropy(logits, y[share]) + comp.penalty()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        comp.step()


def adam(comp: Compressor) -> torch.optim.Optimizer:
    return torch.optim.AdamW(comp.parameters(), lr=3e-3)


def masked_and_shrunk(comp: Compressor) -> tuple[Tensor, Tensor, nn.Module]:
    """Outputs (8, 4) of a network whose choice is fixed, masked and shrunk, for one input."""
    small = comp.eval().shrink().eval()
    with torch.no_grad():
        return comp(INPUT), small(INPUT), small


@pytest.mark.parametrize(("method", "block"), PAIRS)
def test_from_the_same_function_to_one_that_meets_its_budgets(method: str, block: str) -> None:
    comp = build(method, block)
    names = list(comp.model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(comp(INPUT), comp.model(INPUT), rtol=1e-5, atol=1e-5)
    train(comp, adam(comp), range(STEPS + MORE))
    assert list(comp.model.state_dict()) == names
    assert comp.fixed
    assert comp.penalty() == 0
    assert comp.budget_ratio() <= 1
    masked, shrunk, _ = masked_and_shrunk(comp)
    torch.testing.assert_close(shrunk, masked, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "block"), FEW)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_file_computes_what_the_masked_network_does(
    method: str, block: str, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    comp = build(method, block)
    train(comp, adam(comp), range(STEPS + MORE))
    masked, _, small = masked_and_shrunk(comp)
    path = export(small, EXAMPLE, tmp_path / "net.onnx", dynamic_batch=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = {name: INPUT.numpy() for name in load_check(path).inputs}
    np.testing.assert_allclose(session.run(None, feeds)[0], masked.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("method", "block"), FEW)
def test_a_state_dict_resumes_bit_for_bit(method: str, block: str) -> None:
    whole = build(method, block)
    torch.manual_seed(5)
    train(whole, adam(whole), range(STEPS + MORE))
    parts = build(method, block)
    optimizer = adam(parts)
    torch.manual_seed(5)
    train(parts, optimizer, range(8))
    resumed = build(method, block)
    resumed.load_state_dict(copy.deepcopy(parts.state_dict()))
    again = adam(resumed)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(resumed, again, range(8, STEPS + MORE))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize(("method", "block"), FEW)
def test_half_precision_and_a_trial_before(method: str, block: str) -> None:
    comp = build(method, block)
    check_trainable(comp, batch(0)[0])
    train(comp, adam(comp), range(STEPS + MORE), precision=torch.bfloat16)
    assert comp.fixed
    assert comp.budget_ratio() <= 1


@pytest.mark.parametrize(
    ("method", "block"),
    [
        pair if pair.values[0] in COMPILED else pytest.param(*pair.values, marks=pytest.mark.slow)
        for pair in FEW
    ],
)
# the compiler warns of torch's own plans
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_in_one_graph_is_the_same(method: str, block: str) -> None:
    plain, compiled = build(method, block), build(method, block)
    torch.compiler.reset()  # what other tests compiled of the same code counts against a limit
    fast = torch.compile(compiled, backend="aot_eager", fullgraph=True)
    for comp, forward in ((plain, plain), (compiled, fast)):
        torch.manual_seed(5)
        optimizer = torch.optim.SGD(comp.parameters(), lr=1e-2)
        train(comp, optimizer, range(STEPS + MORE), forward)
    assert compiled.counts() == plain.counts()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def _train_a_half(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    for method, block in (pair.values for pair in FEW):
        comp = build(str(method), str(block))
        torch.manual_seed(rank)  # what they draw differs
        both = DistributedDataParallel(comp, broadcast_buffers=False)
        steps = range(STEPS + MORE)
        train(comp, adam(comp), steps, both, share=slice(rank, None, 2))
        torch.save(comp.state_dict(), f"{folder}/{method}-{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_stay_alike(tmp_path: Path) -> None:
    multiprocessing.spawn(_train_a_half, (str(tmp_path),), nprocs=2)
    for method, _ in (pair.values for pair in FEW):
        first, second = (torch.load(tmp_path / f"{method}-{rank}.pt") for rank in (0, 1))
        for name, value in first.items():
            assert torch.equal(value, second[name]), (method, name)


def test_what_a_method_cannot_do_is_refused_with_the_reason() -> None:
    tries: list[tuple[Method, Block, str]] = [
        (LC(), LowRank(), "LC cannot do LowRank: factors are trained in the weight's place"),
        (LC(), Depth(), "LC cannot do Depth: a dropped block is no weight near"),
        (Threshold(), Prune(), "Threshold cannot do Prune: .* expected Sparse alone"),
        (Threshold(), Sparse(pattern="2:4"), "2:4 fixes how many stay"),
    ]
    for method, block, reason in tries:
        with pytest.raises(UsageError, match=reason):
            Compressor(Residuals(), EXAMPLE, None, "bytes=50%", blocks=[block], method=method)
    with pytest.raises(UsageError, match="Gradual is given no budget"):
        Compressor(Residuals(), EXAMPLE, None, None, method=Gradual())


def test_every_method_of_a_run_file_is_held_to_the_laws() -> None:
    assert {type(m) for m in METHODS.values()} == {type(m) for m in EVERY.values()}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_numbers_that_cannot_be_are_refused_by_name(name: str) -> None:
    method: Any = METHODS[name]
    for field, value in vars(method).items():
        if isinstance(value, float):
            with pytest.raises(UsageError, match=field):
                replace(method, **{field: math.nan})
        elif isinstance(value, str):
            with pytest.raises(UsageError, match=f"{field} is 'nothing'; expected"):
                replace(method, **{field: "nothing"})
