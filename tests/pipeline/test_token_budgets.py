"""Budgets of a prefill and of a step of decoding, each met by its own file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.run import SETTINGS, Arithmetic
from support.transformers import small_llama
from torch import nn

from latprof import LatencyTable
from latprof.compress import OwnLoss, TrainSettings, trace, workloads_of_file
from latprof.compress.cost import Budget, OfTokens
from latprof.compress.graph import decoding_graph
from latprof.compress.train import as_batches
from latprof.devices import profile
from latprof.errors import UsageError
from latprof.models import decoding_step, with_tokens
from latprof.pipeline.run import Deployment, Settings, compress_in, conclude
from latprof.pipeline.tokens import token_targets
from latprof.surrogate import fit
from latprof.tables import plan
from latprof.workloads import MatMul, Workload


def ids(tokens: int = 12, rows: int = 1) -> torch.Tensor:
    return torch.randint(0, 64, (rows, tokens), generator=torch.Generator().manual_seed(1))


EXAMPLE = small_llama()[1]


def test_a_step_of_decoding_makes_the_token_that_the_whole_makes() -> None:
    model = small_llama()[0]
    step, inputs = decoding_step(model, EXAMPLE, 12)
    logits, *cache = step(*inputs)
    torch.testing.assert_close(logits[:, -1], model(**EXAMPLE).logits[:, -1])
    assert [tuple(t.shape) for t in cache] == [(1, 2, 12, 8)] * 2


def test_the_graph_of_a_step_has_the_products_of_its_file(tmp_path: Path) -> None:
    model = small_llama()[0]
    graphs = [trace(model, with_tokens(EXAMPLE, n, "llama")) for n in (20, 40)]
    graph = decoding_graph(*graphs, 20)
    step, inputs = decoding_step(model, EXAMPLE, 20)
    file = Deployment(None, tmp_path, inputs)  # type: ignore[arg-type]
    exported = workloads_of_file(_onnx(file, step))

    def products(workloads: list[Workload]) -> list[str]:
        return sorted(str(w) for w in workloads if isinstance(w, MatMul) and w.n > 1 and w.k > 1)

    found = products(graph.workloads())
    assert found == products(list(exported))
    assert any("k=8, n=20, batch=4" in text for text in found)  # one query of all keys


def _onnx(deployment: Deployment, model: nn.Module) -> Path:
    from latprof import export

    path = deployment.folder / "step.onnx"
    export(model, deployment.example_inputs, path)
    return path


@pytest.mark.parametrize(
    ("text", "kind", "tokens", "seconds"),
    [
        ("prefill(512)=300 ms", "prefill(512)", 512, 0.3),
        ("prefill(512)=1024 token/s", "prefill(512)", 512, 0.5),
        ("decode(64)=25 token/s", "decode(64)", 64, 0.04),
        ("decode = 25 tokens/s", "decode", None, 0.04),
    ],
)
def test_budgets_as_they_are_written(
    text: str, kind: str, tokens: int | None, seconds: float
) -> None:
    budget = Budget.parse(text)
    assert budget.kind == kind
    assert budget.of_tokens == OfTokens(kind.startswith("decode"), tokens)
    assert budget.at_batch(1).value == pytest.approx(seconds)
    assert budget.at_batch(4).value == pytest.approx(
        seconds if text.endswith("ms") else 4 * seconds
    )


def test_tokens_that_a_step_decodes_at() -> None:
    assert [(t.name, t.decodes) for t in token_targets(["decode=9 ms"], EXAMPLE)] == [
        ("decode-12", True)
    ]
    both = token_targets(["prefill(64)=50%", "decode=50%", "macs=50%"], EXAMPLE)
    assert [t.name for t in both] == ["prefill-64", "decode-64"]
    with pytest.raises(UsageError, match="say decode"):
        token_targets(["decode=50%"], torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("text", ["latency=25 token/s", "25 token/s", "prefill(0)=25 token/s"])
def test_tokens_of_what_has_none(text: str) -> None:
    with pytest.raises(UsageError, match="expected a latency like"):
        Budget.parse(text)


def test_a_model_without_a_cache_is_refused() -> None:
    embedding = nn.Sequential(nn.Embedding(64, 8), nn.Linear(8, 8))
    with pytest.raises(UsageError, match="Sequential keeps no cache of keys and values"):
        decoding_step(embedding, (ids(),), 12)
    with pytest.raises(UsageError, match="at least 2 tokens"):
        decoding_step(small_llama()[0], EXAMPLE, 1)


def test_a_run_meets_both(tmp_path: Path) -> None:
    model = small_llama()[0]
    budgets = ["prefill(32)=75%", "decode(16)=92%"]
    targets = token_targets(budgets, EXAMPLE)
    ops = [w for t in targets for w in t.graph(model, EXAMPLE).workloads()]
    batches = as_batches(
        [{"input_ids": row, "labels": row} for row in ids(12, 32)], batch=16, seed=0
    )
    settings = Settings(
        budget=", ".join(budgets),
        masks=TrainSettings(6, lr=4e-3, final=0.5),
        fine_tune=TrainSettings(1, lr=2e-3),
    )
    settings = replace(settings, why=False, save_every_s=SETTINGS.save_every_s)
    with Arithmetic(seed=3, stair=8) as device:
        table = LatencyTable(device.target, tuple(profile(device, plan(ops, n_shapes=160))))
        deployment = Deployment(device, tmp_path, EXAMPLE, task=OwnLoss())
        done = compress_in(deployment, model, fit(table), settings, batches)
        networks = {
            "original": (model, done.comp.space.sizes),
            "compressed": (done.small, done.comp.counts()),
        }
        result = conclude(deployment, networks, done, batches_of(batches))
        for outcome, target in zip(result.budgets, targets, strict=True):
            assert (outcome.kind, outcome.met) == (target.kind, True)
            assert outcome.reached >= 0.8 * outcome.limit
            before, after = (
                device.law_s(tmp_path / f"{name}.{target.name}.onnx")
                for name in ("original", "compressed")
            )
            assert after / before == pytest.approx(
                outcome.reached * float(outcome.text.split("=")[1].rstrip("%")) / 100
                / outcome.limit, rel=0.05,
            )  # fmt: skip
    _decodes_as_the_network_computes(tmp_path / "compressed.decode-16.onnx", done.small)


def batches_of(batches: Any) -> Any:
    return torch.utils.data.DataLoader(
        [{"input_ids": row, "labels": row} for row in ids(12, 32)], batch_size=16
    )


def _decodes_as_the_network_computes(file: Path, small: nn.Module) -> None:
    session = pytest.importorskip("onnxruntime").InferenceSession(file)
    whole = ids(16)
    with torch.no_grad():
        cache = small(input_ids=whole[:, :15], use_cache=True).past_key_values
        expected = small(input_ids=whole).logits[:, -1]
    past = [t for layer in cache.layers for t in (layer.keys, layer.values)]
    given = [whole[:, 15:], *past]
    names = [i.name for i in session.get_inputs()]
    feed = {name: t.numpy() for name, t in zip(names, given, strict=True)}
    logits = session.run(None, feed)[0]
    np.testing.assert_allclose(logits[:, -1], expected, rtol=1e-3, atol=1e-4)
