"""A profile with bits: which rows it has, what a fit and ``pays`` make of them, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import answer, run

import latprof
from latprof.errors import UsageError
from latprof.tables import LatencyTable, few_bits
from latprof.workloads import Conv2d, MatMul

MLP = "support.few_bits:mlp"


def test_linear_layers_are_measured_with_each_width_at_the_same_shapes(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    totals: set[int] = set()
    (result,) = latprof.profile(
        "fake", MLP, path, shapes=60, bits=(4, 8), on_event=lambda event: totals.add(event.total)
    )
    assert totals == {len(result.table.measurements)}  # what is announced is what is measured
    rows = {m.workload for m in result.table.usable}
    few = [w for w in rows if isinstance(w, MatMul) and w.weight_bits]
    assert 2 <= len(few) <= 0.45 * (len(rows) - len(few))
    assert {w.weight_bits for w in few} == {4, 8}
    assert all({w.with_weight_bits(b) for b in (0, 4, 8)} <= rows for w in few)
    assert result.table.provenance["plan"]["bits"] == [4, 8]
    assert LatencyTable.load(path) == result.table
    surrogate = latprof.fit(path)
    assert {"matmul", "matmul.w4", "matmul.w8"} <= set(surrogate.labels)
    whole = MatMul(1, 128, 128)
    predicted_s = surrogate.predict([whole.with_weight_bits(4), whole]).latency_s
    measured_s = [m.latency_s for m in result.table.usable if m.workload == whole]
    assert predicted_s[0] < predicted_s[1]  # the fake device takes its time by the byte
    assert predicted_s[1] == pytest.approx(measured_s[0], rel=0.1)
    assert result.table.pays("int4", whole)


def test_bits_are_added_to_a_table_without_them(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    (before,) = latprof.profile("fake", MLP, path, shapes=40)
    (after,) = latprof.profile(["fake", "fake"], MLP, path, shapes=40, bits=(4,))
    new = {m.workload for m in after.table.usable} - {m.workload for m in before.table.usable}
    assert new == set(few_bits([m.workload for m in before.table.measurements], (4,)))


def test_bits_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "t.parquet")
    args = ("profile", "fake", "--for", MLP, "-o", out, "--shapes", "20", "--bits")
    found = answer(monkeypatch, capsys, *args, "4,8")
    assert found["shapes"] == 20 + 2 * int(0.45 * 20 / 2)
    assert run(monkeypatch, *args, "four") == 2
    assert run(monkeypatch, *args, "5") == 2


def test_what_is_refused(tmp_path: Path) -> None:
    convolution = "support.tables:net"
    with pytest.raises(UsageError, match="the model has none"):
        latprof.profile("fake", convolution, tmp_path / "t", shapes=20, bits=(4,))
    with pytest.raises(UsageError, match="expected some of 2, 4, 8"):
        latprof.profile("fake", MLP, tmp_path / "t", shapes=20, bits=(5,))
    with pytest.raises(UsageError, match="spread, paper or grid"):
        latprof.profile("fake", MLP, tmp_path / "t", shapes=20, method="adaptive", bits=(4,))
    pytest.importorskip("torch")
    with pytest.raises(UsageError, match="and LiteRT on a CPU, and local runs torch"):
        latprof.profile("local", MLP, tmp_path / "t", shapes=20, runtime="torch", bits=(4,))


def test_families_take_turns() -> None:
    shapes = [MatMul(1, 64, 64), MatMul(1, 32, 16), Conv2d(4, 4, 8, 8), MatMul(2, 64, 64)]
    found = few_bits([*shapes, *[Conv2d(4, 4, 8, c) for c in range(1, 10)]], (4, 8))
    assert [(w.m, w.k, w.weight_bits) for w in found if isinstance(w, MatMul)] == [
        (1, 64, 4), (1, 64, 8), (2, 64, 4), (2, 64, 8)
    ]  # fmt: skip
    assert few_bits(shapes, ()) == []
