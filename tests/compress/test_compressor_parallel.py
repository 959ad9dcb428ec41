"""The masked model under torch.compile, and in two processes that train it together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from support.compressor import compressor, network, run, train_a_half
from torch import multiprocessing

STEPS = 20


@pytest.mark.slow
def test_two_processes_agree_while_statistics_move(tmp_path: Path) -> None:
    """Batch norm sees other halves; the masks and the weights stay one network's."""
    multiprocessing.spawn(train_a_half, (tmp_path, STEPS), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, value in first.items():
        if "running" not in name:  # of each one's last half batch
            assert torch.equal(value, second[name]), name
    model = [k for k in first if k.startswith("model.")]
    assert model == [f"model.{k}" for k in network().state_dict()]


@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ on the PATH"),
            ],
        ),
    ],
)
# the compiler warns of torch's own plans
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_is_the_same(backend: str) -> None:
    """In one graph without breaks, forward and backward, while the masks move."""
    torch.compiler.reset()  # what other tests compiled of the same code counts against a limit
    comp, compiled = compressor(STEPS), compressor(STEPS)
    names = list(compiled.model.state_dict())
    run(comp, STEPS, torch.optim.SGD, 1e-2)
    fast = torch.compile(compiled, backend=backend, fullgraph=True)
    run(compiled, STEPS, torch.optim.SGD, 1e-2, forward=fast)
    assert list(compiled.model.state_dict()) == names
    assert compiled.counts() == comp.counts()
    for name, value in comp.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    x = torch.randn(8, 1, 12, 12)
    with torch.no_grad():
        small = compiled.shrink().eval()
        torch.testing.assert_close(small(x), fast.eval()(x), rtol=1e-5, atol=1e-5)
