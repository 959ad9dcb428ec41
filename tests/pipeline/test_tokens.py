"""Models that take tokens, at several numbers of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.cli import answer, run

import latprof
from latprof.errors import UsageError
from latprof.models import model_workloads
from latprof.workloads import MatMul

BERT = "support.transformers:small_bert"


def test_tokens_are_those_that_are_asked_for() -> None:
    for seq in (1, 5, 40):
        ops = model_workloads(BERT, seq=seq)
        assert {w.m for w in ops if isinstance(w, MatMul) and w.weights} <= {1, seq}
        scores = [w for w in ops if isinstance(w, MatMul) and not w.weights]
        assert scores
        assert all(seq in (w.m, w.n, w.k) for w in scores)


def test_several_lengths_share_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "t.parquet")
    args = ("profile", "fake", "--for", BERT, "-o", out, "--seq", "1,8,64", "--shapes", "120")
    assert answer(monkeypatch, capsys, *args)["shapes"] == 120
    between = latprof.predict(BERT, out, seq=24)
    assert not [w for w in between.warnings if "extrapolated" in w]
    assert latprof.predict(BERT, out, seq=8).latency_s < between.latency_s
    beyond = answer(monkeypatch, capsys, "predict", BERT, "--table", out, "--seq", "500")
    assert any("extrapolated" in w for w in beyond["warnings"])
    assert beyond["latency_s"] > between.latency_s


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="takes no tokens"):
        model_workloads("support.tables:net", seq=8)
    with pytest.raises(UsageError, match="whole number of tokens"):
        model_workloads(BERT, seq=0)
    file = tmp_path / "m.onnx"
    file.touch()
    with pytest.raises(UsageError, match="give their shape"):
        model_workloads(str(file), seq=8)
    args = ("profile", "fake", "--for", BERT, "-o", str(tmp_path / "t"), "--seq", "all")
    assert run(monkeypatch, *args) == 2


def test_other_inputs_stay() -> None:
    from latprof.models import with_tokens

    inputs = {"ids": torch.tensor([[1, 2, 3]]), "scale": torch.ones(1, 3)}
    found = with_tokens(inputs, 2, "m")
    assert found["ids"].tolist() == [[1, 2]]
    assert found["scale"] is inputs["scale"]


def test_steps_of_decoding_are_measured_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "t.parquet")
    llama = "support.transformers:small_llama"
    args = ("profile", "fake", "--for", llama, "-o", out, "--seq", "24", "--decode", "24,40")
    assert answer(monkeypatch, capsys, *args)["shapes"] == 200
    rows = {m.workload for m in latprof.LatencyTable.load(Path(out)).usable}
    products = [w for w in rows if isinstance(w, MatMul) and not w.weights]
    assert {w.m for w in products} == {1, 24}  # one query, or all
    assert {40, 24} <= {w.n for w in products}
    file = tmp_path / "m.onnx"
    file.touch()
    with pytest.raises(UsageError, match="in place of decode"):
        model_workloads(str(file), decode=8)
