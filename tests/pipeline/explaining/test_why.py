"""``why`` from file to verdicts, on this machine's ONNX Runtime."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from support.cli import run
from support.slow_files import SLOW_FILES
from support.tables import OPS, measured, table_of

import latprof
from latprof.errors import LatprofError, TargetMismatchError
from latprof.pipeline import WhyResult
from latprof.workloads import Conv2d

#: What takes most of the time in its file, so that any load on the host leaves it first.
QUICK = ("dead_branch",)


def consistent(found: WhyResult) -> None:
    assert found.ops_s <= found.latency_s * (1 + 1e-3) or found.profiler_s > 0
    assert sum(op.share for op in found.ops) == pytest.approx(found.ops_s / found.latency_s)
    tried = [verdict for verdict in found.verdicts if verdict.saves_s is not None]
    assert list(found.verdicts[: len(tried)]) == tried  # what was only observed comes last
    saved = [verdict.stake_s for verdict in tried if verdict.cause != "threads"]
    assert saved == sorted(saved, reverse=True)
    assert all(saves_s >= 0.01 * found.latency_s for saves_s in saved)
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", QUICK)
def test_the_cause_of_a_slow_file_comes_first(name: str, tmp_path: Path) -> None:
    write, cause = SLOW_FILES[name]
    shares: list[float] = []
    found = latprof.why(
        write(tmp_path / "slow.onnx"), on_progress=lambda _, share: shares.append(share)
    )
    assert shares == sorted(shares)  # of the whole, not of each stage
    assert 0.8 <= shares[-1] <= 1
    consistent(found)
    assert found.verdicts[0].cause == cause
    assert found.verdicts[0].checked is None
    assert found.verdicts[0].takes_s > 0
    page = found.html()
    assert found.verdicts[0].words in page
    assert page.count("<rect") == len(found.ops)
    data = json.loads(found.model_explorer())
    assert set(data["results"]) == {node for op in found.ops for node in op.nodes}
    total_ms = sum(one["value"] for one in data["results"].values())
    assert total_ms == pytest.approx(1e3 * sum(op.seconds for op in found.ops if op.nodes), 1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(SLOW_FILES) - set(QUICK)))
def test_each_cause_comes_first(name: str, tmp_path: Path) -> None:
    write, cause = SLOW_FILES[name]
    found = latprof.why(write(tmp_path / "slow.onnx"))
    consistent(found)
    assert found.verdicts[0].cause == cause


def test_advice_is_applied_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = SLOW_FILES["dead_branch"][0](tmp_path / "slow.onnx")
    written = file.read_bytes()
    html, nodes = tmp_path / "why.html", tmp_path / "nodes.json"
    options = ["--check", "--all", "--html", str(html), "--model-explorer", str(nodes)]
    assert run(monkeypatch, "why", str(file), *options) == 0
    out = capsys.readouterr().out
    assert file.read_bytes() == written
    assert "1. 2 nodes are computed" in out
    assert "checked: saves" in out
    assert "outputs differ by 0.0e+00" in out
    assert html.read_text().startswith("<!doctype html>")
    assert json.loads(nodes.read_text())["results"]


def test_a_table_says_what_ops_take_alone(tmp_path: Path) -> None:
    file = SLOW_FILES["dead_branch"][0](tmp_path / "slow.onnx")
    with latprof.open_device("local", runtime="onnxruntime") as device:
        target = device.target
    own = Conv2d(28, 28, 64, 64, kernel=3)
    others = [Conv2d(28, 28, c, c, kernel=k) for c in (16, 32, 48) for k in (1, 3)]
    table = dataclasses.replace(table_of([own, *others]), target=target)
    found = latprof.why(file, table=table)
    convs = [op for op in found.ops if op.op == "Conv"]
    assert {(op.alone_s, op.alone_from) for op in convs} == {(measured(own).latency_s, "row")}
    assert all(0 < (op.roofline_s or 0) <= (op.alone_s or 0) for op in convs)


def test_a_table_of_another_device_is_refused(tmp_path: Path) -> None:
    file = SLOW_FILES["dead_branch"][0](tmp_path / "slow.onnx")
    with pytest.raises(TargetMismatchError):
        latprof.why(file, table=table_of(OPS))


@pytest.mark.parametrize("name", ["no.onnx", "model.tflite"])
def test_bad_input_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "why", str(tmp_path / name)) != 0
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_an_exported_program_is_explained(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.GELU(), torch.nn.Flatten())
    program = torch.export.export(net.eval(), (torch.randn(1, 3, 24, 24),))
    torch.export.save(program, tmp_path / "model.pt2")
    found = latprof.why(tmp_path / "model.pt2", max_s=1)
    assert [op.nodes for op in found.ops] == [("conv2d",), ("gelu",), ("flatten",)]
    assert found.target.runtime == "torch"
    consistent(found)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LatprofError, match="no such file"):
        latprof.why(tmp_path / "no.pt2")
    with pytest.raises(LatprofError, match=r"expected \.onnx, \.pt2 or \.tflite"):
        latprof.why(tmp_path / "model.txt")
