"""Every snippet of docs/guide/own-loop.md runs as it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import EXAMPLE, Plain, fake_surrogate, plain_compressor, task
from torch import Tensor, nn

from latprof.compress import save_shrunk
from latprof.surrogate import Surrogate

# Frameworks warn of their own internals
pytestmark = pytest.mark.filterwarnings("ignore")

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "own-loop.md"
SNIPPETS = {
    heading: code
    for heading, body in re.findall(r"^## (.+?)$(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    for code in re.findall(r"(?<!-->\n)```python\n(.*?)```", body, re.S)
}
NEEDS = {"transformers": "accelerate", "Lightning": "pytorch_lightning", "Watching": "tensorboardX"}


@cache
def surrogate() -> Surrogate:
    return fake_surrogate(Plain(), EXAMPLE)


def batches(steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    x, y = task()
    for step in range(steps):
        start = step * 64 % len(y)
        yield x[start : start + 64], y[start : start + 64]


def bert() -> dict[str, Any]:
    from support.transformers import build, example, rows

    model = build()
    return {
        "bert": model,
        "example_batch": example(),
        "bert_surrogate": fake_surrogate(model.eval(), example()),
        "sentences": rows("bert"),
    }


def test_each_section_that_shows_code_is_run() -> None:
    assert len(SNIPPETS) == 6
    assert set(NEEDS) < set(SNIPPETS)


@pytest.mark.parametrize("heading", SNIPPETS)
def test_snippet(heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if heading in NEEDS:
        pytest.importorskip(NEEDS[heading], reason=f"{NEEDS[heading]} is not installed")
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {
        "model": Plain(),
        "example_inputs": EXAMPLE,
        "surrogate": surrogate(),
        "criterion": nn.functional.cross_entropy,
        "batches": batches,
        "loader": torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(*task()), batch_size=64
        ),
    }
    if heading == "transformers":
        known |= bert()
    if heading == "A network of a series":
        folder = tmp_path / "runs/first/trail"
        folder.mkdir(parents=True)
        comp = plain_compressor()
        save_shrunk(folder / "2", Plain(), comp.snapshot(0.5)[0])
    exec(SNIPPETS[heading], known)
    if "comp" in known:
        assert known["comp"].fixed
        assert known["comp"].cost() <= known["comp"].budget_cost
    if "small" in known:
        original = known.get("bert", known["model"])
        assert sum(p.numel() for p in known["small"].parameters()) < sum(
            p.numel() for p in original.parameters()
        )
    if heading == "Watching":
        assert list((tmp_path / "runs/first/tensorboard").glob("events.*"))
